"""What calls an arm over HTTP, by ``wire.py``; docs/arms.md has the contract."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from random import SystemRandom
from typing import Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel, Field, ValidationError

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from arms.places import Place
from arms.wire import Body, exchange, never
from octollm.errors import (
    ArmAwayError,
    ArmError,
    ArmInputError,
    ArmUnavailableError,
    OctoLLMError,
)
from octollm.resilience import outbound
from octollm.resilience.backoff import full_jitter
from octollm.resilience.deadline import StopToken
from octollm.resilience.exchange import Answer

logger = logging.getLogger(__name__)

# The code of a 503 by which an arm says that it has not begun. Gateways answer 503,
# too, and cannot know.
NOT_ACCEPTED = "not_accepted"
# How long an arm is left alone that says so, and not for how long.
NOT_ACCEPTED_S = 1.0
# For answers that need no work.
ANSWER_TIMEOUT_S = 2.0
# A store's answer may hold a large reply.
STORE_TIMEOUT_S = 10.0
# How long an arm that cannot say what it did may take to come back, as after a restart.
PATIENCE_S = 5.0
POLL_BASE_S = 0.1
POLL_CAP_S = 2.0
_MAX_DETAIL = 500

# By what HTTP says of these, nothing was begun.
_NOT_BEGUN = frozenset({408, 425, 429})
_MISCONFIGURED = frozenset({401, 403, 404, 405, 407})

_random = SystemRandom()

T = TypeVar("T", bound=BaseModel)


class RemoteArm:
    """An instance of an arm behind HTTP."""

    def __init__(
        self, spec: ArmSpec, place: Place, *, is_gone: Callable[[], bool] = never
    ) -> None:
        """Know what the arm says of itself, and where it is.

        ``is_gone`` is asked while a call is under way, and ends it: must not block.
        """
        self.spec = spec
        self.place = place
        self._is_gone = is_gone

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Let the arm do one step, once per request id if it has a store.

        A request that may have been sent before is looked up first; a lost reply is
        looked up instead of being asked for again.

        Raises:
            ArmInputError: the arm refuses the request; a retry does not help.
            ArmAwayError: it was found down while it was at work.
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
        except ArmAwayError:
            # It was found down: its store is asked when it is back.
            raise
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
            answer = exchange(self.place, "health", stop=StopToken(ANSWER_TIMEOUT_S))
        except OctoLLMError as error:
            return Health(is_healthy=False, detail=error.message)
        if answer.status != 200:
            detail = f"It answered with status {answer.status}."
            return Health(is_healthy=False, detail=detail)
        return Health(is_healthy=True)

    def _send(self, request: ArmRequest, stop: StopToken) -> ArmReply:
        content = request.model_dump_json().encode()
        answer = exchange(
            self.place,
            "execute",
            stop=stop,
            body=Body(content=content, traceparent=request.traceparent or ""),
            is_gone=self._is_gone,
        )
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
        answer = exchange(
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
    answer = exchange(place, "", stop=StopToken(ANSWER_TIMEOUT_S))
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


def _read(kind: type[T], answer: Answer, arm_name: str) -> T:
    try:
        return kind.model_validate_json(answer.body)
    except ValidationError:
        # Without the cause: pydantic's message quotes the value.
        raise _broken_contract(arm_name) from None


def _broken_contract(arm_name: str) -> ArmError:
    message = f"The arm {arm_name} broke its contract: its answer cannot be read."
    return ArmError(message, arm_name=arm_name, is_outage=True)


def _failure(answer: Answer, arm_name: str) -> ArmError:
    """Translate an answer to a request that is no reply."""
    status, problem = answer.status, _problem_in(answer)
    told = f"status {status}"
    if problem.detail:
        told += f": {problem.detail[:_MAX_DETAIL]}"
    if status in _NOT_BEGUN or (status == 503 and problem.code == NOT_ACCEPTED):
        message = f"The arm {arm_name} takes nothing on just now ({told})."
        return ArmUnavailableError(
            message,
            arm_name=arm_name,
            is_unstarted=True,
            hold_off_s=answer.hold_off_s or NOT_ACCEPTED_S,
        )
    if status == 202 or status >= 500:
        is_outage = status != 202
        what = "failed" if is_outage else "is not done yet"
        return ArmUnavailableError(
            f"The arm {arm_name} {what} ({told}).",
            arm_name=arm_name,
            is_outage=is_outage,
            hold_off_s=answer.hold_off_s,
        )
    if status in _MISCONFIGURED or status < 400:
        message = (
            f"The arm {arm_name} does not take requests as it is set up ({told}): "
            "check its address and token."
        )
        return ArmError(message, arm_name=arm_name)
    message = f"The arm {arm_name} refused the request ({told})."
    return ArmInputError(message, arm_name=arm_name)


def _problem_in(answer: Answer) -> _Problem:
    try:
        return _Problem.model_validate_json(answer.body)
    except ValidationError:
        return _Problem()


def _pause(number: int, stop: StopToken) -> None:
    pause_s = full_jitter(number, base_s=POLL_BASE_S, cap_s=POLL_CAP_S, random=_random)
    outbound.run(asyncio.sleep(pause_s), stop=stop)
