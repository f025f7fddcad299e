"""One request to an arm over HTTP, and its whole answer or why there is none.

A request ends with its token: at the deadline by the wall clock, and on a cancel by
closing the socket.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx2
from django.conf import settings

from arms.places import Place
from octollm.errors import (
    ArmAwayError,
    ArmOutputTooLargeError,
    ArmUnavailableError,
    DeadlineExceededError,
)
from octollm.resilience import outbound
from octollm.resilience.deadline import StopToken
from octollm.resilience.exchange import Answer, AnswerTooLongError
from octollm.resilience.exchange import fetch as fetch_url

# How often it is looked whether an arm that is at work was found down meanwhile.
WATCH_S = 0.5
# What stands around a reply that is as long as it may be.
_AROUND_REPLY_BYTES = 4_096
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)


@dataclass(frozen=True, kw_only=True)
class Body:
    """What is posted, and the trace that it belongs to (W3C Trace Context)."""

    content: bytes = field(repr=False)
    traceparent: str = ""


def never() -> bool:
    """Say no."""
    return False


def exchange(
    place: Place,
    path: str,
    *,
    stop: StopToken,
    within_s: float = math.inf,
    body: Body | None = None,
    is_gone: Callable[[], bool] = never,
) -> Answer:
    """POST ``body``, or GET if there is none, and return the whole answer.

    Raises:
        ArmAwayError: ``is_gone`` said so before the answer came.
        ArmUnavailableError: none came, or none within ``within_s``.
        ArmOutputTooLargeError: it is longer than any reply may be.
        DeadlineExceededError: the time of ``stop`` is over.
        CallCancelledError: somebody asked to stop.
    """
    own_stop = stop.shortened(within_s)
    try:
        call = fetch(place, path, body=body)
        if is_gone is not never:
            call = _watched(call, place, is_gone)
        return outbound.run(call, stop=own_stop)
    except DeadlineExceededError as error:
        if stop.remaining_s <= 0:
            raise
        late = f"The arm {place.name} did not answer within {within_s:.3g} s."
        raise ArmUnavailableError(late, arm_name=place.name, is_outage=True) from error
    except httpx2.RequestError as error:
        is_unsent = isinstance(error, _NEVER_SENT)
        what = "could not be reached" if is_unsent else "broke the connection"
        raise ArmUnavailableError(
            f"The arm {place.name} {what}.",
            arm_name=place.name,
            is_outage=True,
            is_unstarted=is_unsent,
        ) from error
    finally:
        stop.forget(own_stop.cancel)


async def _watched(
    call: Coroutine[Any, Any, Answer], place: Place, is_gone: Callable[[], bool]
) -> Answer:
    """Return what a call returns, unless its instance is found down meanwhile."""
    running = asyncio.ensure_future(call)
    try:
        while True:
            done, _ = await asyncio.wait({running}, timeout=WATCH_S)
            if done:
                return running.result()
            if is_gone():
                message = f"The arm {place.name} was found down while it worked."
                raise ArmAwayError(message, arm_name=place.name, is_unstarted=False)
    finally:
        running.cancel()


async def fetch(place: Place, path: str, *, body: Body | None = None) -> Answer:
    """POST ``body``, or GET if there is none; for callers on the outbound loop.

    Raises:
        ArmOutputTooLargeError: the answer is longer than any reply may be.
        RequestError: there is no answer.
    """
    most = settings.OCTOLLM_MAX_OUTPUT_BYTES + _AROUND_REPLY_BYTES
    try:
        return await fetch_url(
            f"{place.url}/{path}",
            max_bytes=most,
            content=body.content if body else None,
            token=place.token,
            traceparent=body.traceparent if body else "",
        )
    except AnswerTooLongError as error:
        raise ArmOutputTooLargeError(
            f"The arm {place.name} sends more than {most} bytes.",
            arm_name=place.name,
            is_outage=True,
        ) from error
