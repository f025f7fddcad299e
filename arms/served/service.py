"""What a served arm answers to each request; docs/arms.md has the contract.

No HTTP here but statuses: ``http.py`` reads the socket.
"""

from __future__ import annotations

import hmac
import logging
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

from django.conf import settings
from django.db import InterfaceError, OperationalError
from pydantic import ValidationError

from arms.client import NOT_ACCEPTED
from arms.contract import (
    CONTRACT_VERSION,
    Arm,
    ArmReply,
    ArmRequest,
    ArmServices,
    Health,
)
from arms.entries import describe
from arms.served import store
from arms.served.meter import LocalMeter
from octollm.errors import (
    ArmError,
    ArmInputError,
    ArmOutputTooLargeError,
    ArmUnavailableError,
    CallCancelledError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    MissingInputError,
    OctoLLMError,
)
from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject

logger = logging.getLogger(__name__)

# How long what a self-check found is good for.
CHECK_TTL_S = 5.0
# How soon a caller whose connection broke asks after its request, by far.
GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A status and a JSON body."""

    status: int
    body: JSONObject


class Caller:
    """Who waits for an answer, as far as the socket tells."""

    def __init__(self) -> None:
        """Be there."""
        self.left_at: float | None = None

    def leave(self) -> None:
        """Note that nobody waits any more; from any thread."""
        self.left_at = time.monotonic()


@dataclass
class _Running:
    """A request that is being done, its caller, and when it was last asked after."""

    stop: StopToken
    caller: Caller
    asked_at: float = 0.0

    @property
    def is_abandoned(self) -> bool:
        """Whether its caller hung up and nobody has asked after it for a while."""
        left_at = self.caller.left_at
        if left_at is None:
            return False
        return time.monotonic() - max(left_at, self.asked_at) > GRACE_S


class Service:
    """One arm, as callers elsewhere see it. Safe to use from any thread."""

    def __init__(self, arm: Arm, *, token: str, places: int) -> None:
        """Serve an arm to whoever shows the token, so many requests at a time."""
        self.arm = arm
        self.life = uuid4()
        self._token = token
        self._places = places
        self._lock = threading.Lock()
        self._taken = 0
        self._running: dict[UUID, _Running] = {}
        self._is_draining = False
        self._health = Health(is_healthy=False, detail="It has not been checked yet.")
        self._check_at = 0.0
        self._check_lock = threading.Lock()

    @property
    def taken(self) -> int:
        """How many places are taken."""
        return self._taken

    def is_known(self, authorization: str) -> bool:
        """Tell whether a caller has shown the token."""
        shown = authorization.encode("utf-8", "surrogateescape")
        return hmac.compare_digest(shown, f"Bearer {self._token}".encode())

    def entry(self) -> Answer:
        """Answer with the catalogue entry."""
        spec = self.arm.spec
        named: JSONObject = {
            "name": spec.name,
            "contract_version": CONTRACT_VERSION,
        }
        return Answer(status=200, body=named | describe(spec))

    def health(self) -> Answer:
        """Answer whether the arm is well; its own check is made every few seconds."""
        with self._check_lock:
            if time.monotonic() >= self._check_at:
                self._health = self._check()
                self._check_at = time.monotonic() + CHECK_TTL_S
            found = self._health
        status = "healthy" if found.is_healthy else "unhealthy"
        body: JSONObject = {
            "status": status,
            "detail": found.detail,
            "is_draining": self._is_draining,
        }
        return Answer(status=200 if found.is_healthy else 503, body=body)

    def _check(self) -> Health:
        try:
            store.find(self.life)
            return self.arm.check()
        except (InterfaceError, OperationalError):
            return Health(is_healthy=False, detail="The database is away.")
        except Exception as error:
            logger.exception("an arm's self-check raised")
            return Health(is_healthy=False, detail=type(error).__name__)

    def execution(self, request_id: str) -> Answer:
        """Answer with what was done under a request id, by whichever instance."""
        try:
            self._note_interest(UUID(request_id))
            found = store.find(UUID(request_id))
        except ValueError:
            return Answer(status=404, body={"state": "unknown"})
        except (InterfaceError, OperationalError):
            return _problem(DatabaseUnavailableError())
        return self._told(found)

    # Places ------------------------------------------------------------------------
    def take_place(self) -> Answer | None:
        """Take a place, or return why there is none."""
        with self._lock:
            if self._is_draining:
                return not_accepted("The arm is about to stop.")
            if self._taken >= self._places:
                return not_accepted("The arm has as much to do as it can.")
            self._taken += 1
        return None

    def leave_place(self) -> None:
        """Give a place back."""
        with self._lock:
            self._taken -= 1

    def drain(self) -> None:
        """Take nothing new on."""
        with self._lock:
            self._is_draining = True

    def stop_all(self) -> None:
        """Ask what still runs to stop; its callers find it as never begun."""
        with self._lock:
            running = list(self._running.values())
        for each in running:
            each.stop.cancel()

    def tend(self) -> None:
        """Say of what runs that somebody is at it; stop what nobody waits for.

        A cancelled task closes the connection. A worker whose connection broke asks
        after the request at once, and then it goes on.
        """
        with self._lock:
            running = dict(self._running)
        store.renew(running, life=self.life)
        for each in running.values():
            if each.is_abandoned and self.arm.spec.is_repeatable:
                each.stop.cancel()

    def _note_interest(self, request_id: UUID) -> None:
        with self._lock:
            if request_id in self._running:
                self._running[request_id].asked_at = time.monotonic()

    # The work ----------------------------------------------------------------------
    def execute(self, body: bytes, caller: Caller) -> Answer:
        """Do one step, once per request id; a place has been taken for it."""
        request = self._read(body)
        if isinstance(request, Answer):
            return request
        deadline_at = request.budget.deadline_at
        if deadline_at.tzinfo is None:
            deadline_at = deadline_at.replace(tzinfo=UTC)
        stop = StopToken((deadline_at - datetime.now(UTC)).total_seconds())
        if stop.remaining_s <= 0:
            return not_accepted("The deadline is over.")
        try:
            with self._noted(request.request_id, _Running(stop, caller)) as is_new:
                is_ours = is_new and self._begin(request)
                if is_ours:
                    return self._work(request, stop)
            return self._told(store.find(request.request_id), is_repeated=True)
        except (InterfaceError, OperationalError):
            # It may have begun before: whoever asks is to look it up.
            return _problem(DatabaseUnavailableError())

    def _read(self, body: bytes) -> ArmRequest | Answer:
        """Return the request, or the answer that says what is wrong with it."""
        try:
            request = ArmRequest.model_validate_json(body)
        except ValidationError as error:
            return _unreadable(error)
        if self.arm.spec.capability(request.capability) is None:
            return _problem(ArmInputError("There is no such capability."), status=422)
        return request

    @contextmanager
    def _noted(self, request_id: UUID, running: _Running) -> Iterator[bool]:
        """Keep a request among those that run; say whether it was not there yet."""
        self._note_interest(request_id)
        with self._lock:
            is_new = self._running.setdefault(request_id, running) is running
        try:
            yield is_new
        finally:
            if is_new:
                with self._lock:
                    del self._running[request_id]

    def _begin(self, request: ArmRequest) -> bool:
        spec = self.arm.spec
        return store.begin(
            request.request_id,
            arm=spec.name,
            scope_id=request.task_id,
            life=self.life,
            takes_over=spec.is_repeatable,
        )

    def _work(self, request: ArmRequest, stop: StopToken) -> Answer:
        meter = LocalMeter(request.budget)
        services = ArmServices(
            meter=meter,
            stop=stop,
            knowledge_scope=request.knowledge_scope,
            model=request.model,
        )
        try:
            reply = self._checked(self.arm.execute(request, services), meter)
        except Exception as error:  # noqa: BLE001  # _failed logs it
            return self._failed(request, error, meter)
        outcome: JSONObject = reply.model_dump(mode="json")
        if not store.finish(request.request_id, outcome, life=self.life):
            # It was silent for so long that somebody else took it over.
            logger.warning("a reply came after its request was taken over")
            return self._told(store.find(request.request_id), is_repeated=True)
        return Answer(status=200, body=outcome)

    def _checked(self, reply: ArmReply, meter: LocalMeter) -> ArmReply:
        """Validate a reply as the caller will, and say in it what models cost."""
        checked = ArmReply.model_validate(reply)
        used = meter.usage()
        if used is not None:
            checked = checked.model_copy(update={"usage": used})
        most = settings.OCTOLLM_MAX_OUTPUT_BYTES
        if len(checked.model_dump_json()) > most:
            raise ArmOutputTooLargeError(
                f"The reply has more than {most} bytes.", arm_name=self.arm.spec.name
            )
        return checked

    def _failed(
        self, request: ArmRequest, error: Exception, meter: LocalMeter
    ) -> Answer:
        """Answer why there is no reply, and leave in the store what a repeat gets."""
        known = _as_ours(error, self.arm.spec.name)
        is_refusal = isinstance(known, ArmInputError | MissingInputError)
        is_stopped = isinstance(known, CallCancelledError | DeadlineExceededError)
        # What stopped half-way has had no effect only where a repetition does no harm.
        is_undone = is_stopped and self.arm.spec.is_repeatable
        if is_refusal or known.is_transient or is_undone:
            store.forget(request.request_id, life=self.life)
        else:
            reason: JSONObject = {"detail": known.message, "code": known.code}
            store.finish(request.request_id, reason, life=self.life, is_done=False)
        logger.warning("an arm gave no reply: %s", known.code)
        if is_undone:
            known = ArmUnavailableError("The arm stopped before it was done.")
            return _problem(known, meter, code=NOT_ACCEPTED)
        return _problem(known, meter, status=422 if is_refusal else None)

    def _told(self, found: store.Found | None, *, is_repeated: bool = False) -> Answer:
        """Answer with what the store has: to a look, or to a request made again."""
        if found is not None and found.state == "lost":
            is_lost = not self.arm.spec.is_repeatable
            found = store.Found(state="failed", outcome={"detail": store.LOST})
            found = found if is_lost else None
        if found is None:
            # Forgotten between two looks: it may be asked for again at once.
            unknown: JSONObject = {"state": "unknown", "code": "unknown"}
            return Answer(status=503 if is_repeated else 404, body=unknown)
        if found.state == "done":
            reply = found.outcome
            body: JSONObject = {"state": "done", "reply": reply}
            return Answer(status=200, body=reply if is_repeated else body)
        body = {"state": found.state, **found.outcome}
        status = {"running": 202, "failed": 500}[found.state] if is_repeated else 200
        return Answer(status=status, body=body)


def not_accepted(detail: str) -> Answer:
    """Return the answer that says that nothing was begun."""
    return Answer(status=503, body={"code": NOT_ACCEPTED, "detail": detail})


def _as_ours(error: Exception, arm_name: str) -> OctoLLMError:
    """Return one of our errors in place of what an arm raised."""
    if isinstance(error, OctoLLMError):
        return error
    if isinstance(error, InterfaceError | OperationalError):
        return DatabaseUnavailableError()
    # Its message may hold what the arm was shown, so only the frames are logged.
    frames = traceback.extract_tb(error.__traceback__)
    logger.error(
        "an arm raised %s",
        type(error).__name__,
        extra={"frames": [f"{f.filename}:{f.lineno} {f.name}" for f in frames]},
    )
    message = f"The arm {arm_name} failed unexpectedly ({type(error).__name__})."
    return ArmError(message, arm_name=arm_name)


def _problem(
    error: OctoLLMError,
    meter: LocalMeter | None = None,
    *,
    status: int | None = None,
    code: str = "",
) -> Answer:
    """Answer with an error, and what models cost until then."""
    body: JSONObject = {"code": code or error.code, "detail": error.message}
    used = meter.usage() if meter is not None else None
    if used is not None:
        body["usage"] = used.model_dump(mode="json")
    return Answer(status=status or (503 if error.is_transient else 500), body=body)


def _unreadable(error: ValidationError) -> Answer:
    """Answer which field is wrong; pydantic's own message quotes the value."""
    first = error.errors(include_url=False, include_input=False, include_context=False)
    is_json = first[0]["type"] != "json_invalid"
    place = ".".join(map(str, first[0]["loc"])) or "all of it"
    detail = f"{place}: {first[0]['msg']}" if is_json else "It is no JSON."
    code = "invalid" if is_json else "malformed_json"
    return Answer(status=422 if is_json else 400, body={"code": code, "detail": detail})
