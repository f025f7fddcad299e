"""The only module that calls an arm over HTTP; docs/arms.md has the contract.

A request ends with its token: at the deadline by the wall clock, and on a cancel by
closing the socket. A connection serves one request, since an idle one that the arm
closes just then would look like a lost reply.
"""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import time
from dataclasses import dataclass, field
from functools import cache
from random import SystemRandom
from typing import Any, Literal, TypeVar
from uuid import UUID

import httpx2
from django.conf import settings
from pydantic import BaseModel, Field, ValidationError

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from octollm.errors import (
    ArmError,
    ArmInputError,
    ArmOutputTooLargeError,
    ArmUnavailableError,
    DeadlineExceededError,
    OctoLLMError,
)
from octollm.resilience import outbound
from octollm.resilience.backoff import full_jitter
from octollm.resilience.deadline import StopToken

logger = logging.getLogger(__name__)

# The code of a 503 by which an arm says that it has not begun. Gateways answer 503,
# too, and cannot know.
NOT_ACCEPTED = "not_accepted"
CONNECT_TIMEOUT_S = 5.0
# For answers that need no work.
ANSWER_TIMEOUT_S = 2.0
# A store's answer may hold a large reply.
STORE_TIMEOUT_S = 10.0
# How long an arm that cannot say what it did may take to come back, as after a restart.
PATIENCE_S = 5.0
POLL_BASE_S = 0.1
POLL_CAP_S = 2.0
# What stands around a reply that is as long as it may be.
_AROUND_REPLY_BYTES = 4_096
_MAX_DETAIL = 500

_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
# By what HTTP says of these, nothing was begun.
_NOT_BEGUN = frozenset({408, 425, 429})
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407})

_random = SystemRandom()

T = TypeVar("T", bound=BaseModel)


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an arm is, and the token it wants; without one when empty."""

    name: str
    url: str
    token: str = field(default="", repr=False)


class RemoteArm:
    """An arm behind HTTP."""

    def __init__(self, spec: ArmSpec, place: Place) -> None:
        """Know what the arm says of itself, and where it is."""
        self.spec = spec
        self.place = place

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Let the arm do one step, once per request id if it has a store.

        A request that may have been sent before is looked up first; a lost reply is
        looked up instead of being asked for again.

        Raises:
            ArmInputError: the arm refuses the request; a retry does not help.
            ArmUnavailableError: it cannot be had now; says whether it has begun.
            ArmOutputTooLargeError: it sends more than a step may keep.
            ArmError: it broke the contract, or says that it failed for good.
            DeadlineExceededError: the time is over.
            CallCancelledError: somebody asked to stop.
        """
        has_store, stop = self.spec.has_store, services.stop
        if has_store and services.is_repeat:
            known = self._recall(request.request_id, stop)
            if known is not None:
                return known
        try:
            return self._send(request, stop)
        except ArmUnavailableError as error:
            if error.is_unstarted or not has_store:
                raise
            logger.warning("an arm's reply did not come and is looked up")
            known = self._recall(request.request_id, stop)
            if known is None:
                raise
            return known

    def check(self) -> Health:
        """Ask the arm whether it is well; takes at most two seconds."""
        try:
            answer = _exchange(self.place, "health", stop=StopToken(ANSWER_TIMEOUT_S))
        except OctoLLMError as error:
            return Health(is_healthy=False, detail=error.message)
        if answer.status != 200:
            detail = f"It answered with status {answer.status}."
            return Health(is_healthy=False, detail=detail)
        return Health(is_healthy=True)

    def _send(self, request: ArmRequest, stop: StopToken) -> ArmReply:
        content = request.model_dump_json().encode()
        answer = _exchange(self.place, "execute", stop=stop, content=content)
        if answer.status == 200:
            return _read(ArmReply, answer, self.spec.name)
        raise _failure(answer, self.spec.name)

    def _recall(self, request_id: UUID, stop: StopToken) -> ArmReply | None:
        """Return what the arm did under a request id, or nothing if it has not begun.

        Waits while the arm is at it, and a while for an arm that is away.

        Raises:
            ArmUnavailableError: it cannot be asked, so nobody knows.
            ArmError: it failed for good, or broke the contract.
        """
        give_up_at = time.monotonic() + PATIENCE_S
        number = 0
        while True:
            number += 1
            try:
                found = self._ask_store(request_id, stop)
            except ArmUnavailableError as error:
                if time.monotonic() >= give_up_at:
                    # The store was not reached; the request may have been.
                    raise ArmUnavailableError(
                        f"What became of the request is not known: {error.message}",
                        arm_name=self.spec.name,
                    ) from error
            else:
                if found.state != "running":
                    return self._reply_in(found)
                give_up_at = time.monotonic() + PATIENCE_S
            _pause(number, stop)

    def _ask_store(self, request_id: UUID, stop: StopToken) -> _Found:
        answer = _exchange(
            self.place, f"executions/{request_id}", stop=stop, within_s=STORE_TIMEOUT_S
        )
        if answer.status == 404:
            return _Found(state="unknown")
        if answer.status == 200:
            return _read(_Found, answer, self.spec.name)
        message = (
            f"The arm {self.spec.name} does not say what it did under the request "
            f"(status {answer.status})."
        )
        is_passing = answer.status >= 500 or answer.status in _NOT_BEGUN
        kind = ArmUnavailableError if is_passing else ArmError
        raise kind(message, arm_name=self.spec.name)

    def _reply_in(self, found: _Found) -> ArmReply | None:
        if found.state == "failed":
            told = f": {found.detail[:_MAX_DETAIL]}" if found.detail else "."
            message = f"The arm {self.spec.name} failed{told}"
            raise ArmError(message, arm_name=self.spec.name)
        if found.state == "done" and found.reply is None:
            raise _broken_contract(self.spec.name)
        return found.reply if found.state == "done" else None


def fetch_entry(place: Place) -> bytes:
    """Return what an arm says of itself, as it sent it; takes at most two seconds.

    Raises:
        ArmError: it cannot be had.
        DeadlineExceededError: it takes longer.
    """
    answer = _exchange(place, "", stop=StopToken(ANSWER_TIMEOUT_S))
    if answer.status != 200:
        message = f"The arm {place.name} shows no entry (status {answer.status})."
        raise ArmUnavailableError(message, arm_name=place.name)
    return answer.body


# What arms answer ------------------------------------------------------------------
class _Found(BaseModel):
    """What a store holds under a request id."""

    state: Literal["done", "running", "unknown", "failed"]
    reply: ArmReply | None = None
    detail: str = ""


class _Problem(BaseModel):
    """Why an arm does not do what it was asked for."""

    code: str = Field(default="", max_length=100)
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class _Answer:
    status: int
    body: bytes


def _read(kind: type[T], answer: _Answer, arm_name: str) -> T:
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError:
        # Without the cause: pydantic's message quotes the value.
        raise _broken_contract(arm_name) from None


def _broken_contract(arm_name: str) -> ArmError:
    message = f"The arm {arm_name} broke its contract: its answer cannot be read."
    return ArmError(message, arm_name=arm_name)


def _failure(answer: _Answer, arm_name: str) -> ArmError:
    """Translate an answer to a request that is no reply."""
    status, problem = answer.status, _problem_in(answer)
    told = f"status {status}"
    if problem.detail:
        told += f": {problem.detail[:_MAX_DETAIL]}"
    if status in _NOT_BEGUN or (status == 503 and problem.code == NOT_ACCEPTED):
        message = f"The arm {arm_name} takes nothing on just now ({told})."
        return ArmUnavailableError(message, arm_name=arm_name, is_unstarted=True)
    if status == 202 or status >= 500:
        what = "is not done yet" if status == 202 else "failed"
        message = f"The arm {arm_name} {what} ({told})."
        return ArmUnavailableError(message, arm_name=arm_name)
    if status in _MISCONFIGURED or status < 400:
        message = (
            f"The arm {arm_name} does not take requests as it is set up ({told}): "
            "check its address and token."
        )
        return ArmError(message, arm_name=arm_name)
    message = f"The arm {arm_name} refused the request ({told})."
    return ArmInputError(message, arm_name=arm_name)


def _problem_in(answer: _Answer) -> _Problem:
    try:
        return _Problem.model_validate_json(answer.body)
    except ValidationError:
        return _Problem()


# On the wire -----------------------------------------------------------------------
def _exchange(
    place: Place,
    path: str,
    *,
    stop: StopToken,
    within_s: float = math.inf,
    content: bytes | None = None,
) -> _Answer:
    """POST ``content``, or GET if there is none, and return the whole answer.

    Raises:
        ArmUnavailableError: none came, or none within ``within_s``.
        ArmOutputTooLargeError: it is longer than any reply may be.
        DeadlineExceededError: the time of ``stop`` is over.
        CallCancelledError: somebody asked to stop.
    """
    own_stop = stop.shortened(within_s)
    try:
        return outbound.run(_fetch(place, path, content=content), stop=own_stop)
    except DeadlineExceededError as error:
        if stop.remaining_s <= 0:
            raise
        late = f"The arm {place.name} did not answer within {within_s:.3g} s."
        raise ArmUnavailableError(late, arm_name=place.name) from error
    except httpx2.RequestError as error:
        is_unsent = isinstance(error, _NEVER_SENT)
        what = "could not be reached" if is_unsent else "broke the connection"
        raise ArmUnavailableError(
            f"The arm {place.name} {what}.",
            arm_name=place.name,
            is_unstarted=is_unsent,
        ) from error
    finally:
        stop.forget(own_stop.cancel)


async def _fetch(place: Place, path: str, *, content: bytes | None) -> _Answer:
    # Nothing compressed is asked for, and nothing is unpacked: a little of it could be
    # a lot.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    if place.token:
        headers["Authorization"] = f"Bearer {place.token}"
    method, url = "GET" if content is None else "POST", f"{place.url}/{path}"
    most = settings.OCTOLLM_MAX_OUTPUT_BYTES + _AROUND_REPLY_BYTES
    body = bytearray()
    async with (
        _client() as client,
        client.stream(method, url, content=content, headers=headers) as response,
    ):
        async for part in response.aiter_raw():
            body += part
            if len(body) > most:
                raise ArmOutputTooLargeError(
                    f"The arm {place.name} sends more than {most} bytes.",
                    arm_name=place.name,
                )
        return _Answer(status=response.status_code, body=bytes(body))


def _client() -> httpx2.AsyncClient:
    """Return a client for one request; it is cheap but for what is kept here."""
    return httpx2.AsyncClient(
        # Our own clock ends a request; this one only gives up early on a dead address.
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
        # A redirect would carry the request to an address nobody configured.
        follow_redirects=False,
        transport=httpx2.AsyncHTTPTransport(
            verify=_tls(), socket_options=_keeping_alive()
        ),
    )


@cache
def _tls() -> Any:
    # Reading the certificates takes most of a tenth of a second.
    return httpx2.create_ssl_context()


@cache
def _keeping_alive() -> list[tuple[int, int, int]]:
    """Notice within half a minute that the arm's machine is gone: it says nothing."""
    wanted = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in wanted.items()
        if hasattr(socket, name)
    ]


def _pause(number: int, stop: StopToken) -> None:
    pause_s = full_jitter(number, base_s=POLL_BASE_S, cap_s=POLL_CAP_S, random=_random)
    outbound.run(asyncio.sleep(pause_s), stop=stop)
