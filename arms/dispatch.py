"""Bring an invocation to an instance of its arm: choose, hold a place, call, tell.

One that provably never started goes on to the next instance at once. One that may have
begun stays where it is: only that instance can say what came of it, unless all share
one store or doing it twice does no harm.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import SystemRandom
from uuid import UUID

from arms import boundary, health, registration
from arms.contract import ArmRequest, ArmServices, ArmSpec
from arms.load import loads
from arms.registry import (
    Instance,
    arm_at,
    away,
    fallback_of,
    instances_of,
    spec_of,
)
from arms.retry_budget import budgets
from arms.routing import (
    ASKED_FIRST,
    AT_LEAST_ONCE,
    Candidate,
    Route,
    choose,
)
from octollm import metrics
from octollm.errors import (
    ArmAwayError,
    ArmBusyError,
    ArmError,
    ArmUnavailableError,
    CallCancelledError,
    DeadlineExceededError,
    OctoLLMError,
)
from octollm.resilience import breakers, slots

logger = logging.getLogger(__name__)

# An instance that had less time than this before the deadline is not to blame.
FAIR_TIME_S = 5.0
# When to look again for a place, if nobody says before that one is free.
BUSY_S = 0.5
# When to look again for an instance that is away.
AWAY_S = 1.0

_random = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Invocation:
    """One request for a step, wherever it goes.

    Attributes:
        arm: the step's.
        is_new: nobody can have used the request id before.
        is_retry: the step was tried before.
        holder: who holds the place at an instance; the claim.
        pinned: the location that may have begun it; empty: none, or in process.
        may_fall_back: whether another arm than the step's may do it.
        note: told of each route before it is taken; raises when nobody may go on.
        freed: told of an arm one of whose places is free again.
    """

    request: ArmRequest
    arm: str
    services: ArmServices
    scopes: boundary.Scopes
    is_new: bool
    is_retry: bool
    holder: UUID
    pinned: str = ""
    may_fall_back: Callable[[str], bool] = field(compare=False)
    note: Callable[[Route], None] = field(compare=False)
    freed: Callable[[str], None] = field(compare=False)


def invoke(invocation: Invocation) -> boundary.ScreenedReply:
    """Let an instance of the arm do it, once per request id where there is a store.

    Raises:
        ArmAwayError: no instance can be asked now; a later try may find one.
        ArmBusyError: every instance has as much to do as it takes.
        OctoLLMError: what the arm raised; whether a retry helps is its class's word.
    """
    try:
        return _Dispatch(invocation, spec_of(invocation.arm)).run()
    except ArmAwayError as error:
        fallback = _fallback_of(invocation, error)
        if fallback is None:
            raise
        why = f"{invocation.arm} is away; its fallback {fallback.name}: "
        return _Dispatch(invocation, fallback, why=why).run()


def _fallback_of(invocation: Invocation, error: ArmAwayError) -> ArmSpec | None:
    """Return the arm that may do it instead, of an invocation that nobody has begun."""
    if isinstance(error, ArmBusyError) or not error.is_unstarted:
        return None
    name = fallback_of(invocation.arm)
    if not name or not (invocation.is_new and invocation.may_fall_back(name)):
        return None
    try:
        spec = spec_of(name)
    except ArmUnavailableError:
        return None
    return spec if spec.capability(invocation.request.capability) else None


class _Dispatch:
    """One invocation's way to the instances of one arm."""

    def __init__(self, invocation: Invocation, spec: ArmSpec, *, why: str = "") -> None:
        self._invocation = invocation
        self._spec = spec
        self._why = why
        self._stays = _stays(invocation, spec)
        self._tried: set[UUID] = set()
        self._full: set[UUID] = set()
        self._sent = 0

    def run(self) -> boundary.ScreenedReply:
        while True:
            instance, route = self._enter()
            try:
                self._begin(instance, route)
                return self._call(instance)
            except ArmUnavailableError as error:
                # That its store knows nothing yet is no proof: a request may be on its
                # way for longer than we wait.
                is_next = error.is_unstarted and self._invocation.is_new
                if not is_next or isinstance(error, ArmAwayError):
                    raise
                self._tried.add(instance.id)
            finally:
                self._free(instance)

    # Where it may go ------------------------------------------------------------------
    def _enter(self) -> tuple[Instance, Route]:
        """Choose until an instance lets us in: its breaker, and one of its places."""
        while True:
            instance, route = self._choose()
            if self._is_let_in(instance):
                return instance, route

    def _begin(self, instance: Instance, route: Route) -> None:
        """Make sure that the request may be sent, and tell where it goes."""
        try:
            self._may_send()
            self._invocation.note(route)
        except OctoLLMError:
            if not instance.is_here:
                breakers.hand_back(breaker_of(instance))
            raise

    def _choose(self) -> tuple[Instance, Route]:
        instances = {each.id: each for each in self._open()}
        if not instances:
            raise self._nobody()
        candidates = [_candidate(each) for each in instances.values()]
        chosen, reason = choose(candidates, random=_random)
        if self._invocation.pinned:
            with_store = self._spec.has_store
            reason = f"{reason}; {ASKED_FIRST if with_store else AT_LEAST_ONCE}"
        instance = instances[chosen.instance_id]
        return instance, Route(
            arm=self._spec.name,
            instance=instance.location,
            instance_id=instance.id,
            reason=f"{self._why}{reason}",
        )

    def _open(self) -> Iterator[Instance]:
        """Yield the instances that can be asked now."""
        for each in self._eligible():
            is_out = each.id in self._tried or each.id in self._full
            if not is_out and (each.is_here or not breakers.wait_s(breaker_of(each))):
                yield each

    def _eligible(self) -> Iterator[Instance]:
        """Yield the instances that may be asked, if they are well."""
        for each in instances_of(self._spec.name):
            if not self._stays and each.takes_steps:
                yield each
            if self._stays and each.location == self._invocation.pinned:
                # Also one that gets nothing new.
                yield from (each,) if each.answers else ()

    def _is_let_in(self, instance: Instance) -> bool:
        if not instance.is_here and not breakers.ask(breaker_of(instance)).is_allowed:
            self._tried.add(instance.id)
            return False
        if instance.places is None:
            return True
        scope = registration.scope_of(instance.id)
        if slots.take(scope, self._invocation.holder):
            return True
        self._full.add(instance.id)
        if not instance.is_here:
            breakers.hand_back(breaker_of(instance))
        return False

    def _may_send(self) -> None:
        """Take a retry out of the arm's budget, unless this is a first request.

        Raises:
            ArmAwayError: none is left.
        """
        invocation, arm = self._invocation, self._spec.name
        is_first = invocation.is_new and not invocation.is_retry and not self._sent
        self._sent += 1
        if is_first:
            budgets.earn(arm)
        elif not budgets.spend(arm):
            message = f"The arm {arm} is in trouble and gets few retries."
            raise ArmAwayError(
                message,
                arm_name=arm,
                wait_s=AWAY_S,
                is_unstarted=self._invocation.is_new,
            )

    def _nobody(self) -> ArmAwayError:
        """Return why nobody can be asked, and when to ask again."""
        arm, is_unstarted = self._spec.name, self._invocation.is_new
        if self._full:
            message = (
                f"Each instance of the arm {arm} does as much as it takes at once."
            )
            return ArmBusyError(
                message, arm_name=arm, wait_s=BUSY_S, is_unstarted=is_unstarted
            )
        waits = [
            breakers.wait_s(breaker_of(e)) for e in self._eligible() if not e.is_here
        ]
        if self._stays:
            where = self._invocation.pinned
            message = f"Only {where} can say what came of the request, and it is away."
        else:
            why = away().get(arm) or "calls of it failed"
            message = f"No instance of the arm {arm} can be had: {why}"
        return ArmAwayError(
            message,
            arm_name=arm,
            wait_s=max(AWAY_S, min(waits, default=0.0)),
            is_unstarted=is_unstarted,
        )

    # The call, and what it says of the instance -----------------------------------------
    def _call(self, instance: Instance) -> boundary.ScreenedReply:
        invocation, spec = self._invocation, self._spec
        began = time.monotonic()
        given_s = invocation.services.stop.remaining_s
        with _told(instance, given_s=given_s), loads.measured(instance.id):
            screened = boundary.call(
                invocation.request,
                arm=arm_at(spec, instance),
                services=invocation.services,
                scopes=invocation.scopes,
                is_new=invocation.is_new,
            )
        took_s = time.monotonic() - began
        metrics.ARM_DURATION.labels(spec.name, _kind(instance)).observe(took_s)
        if not instance.is_here:
            # What an arm in process pays for went through the meter as it was paid.
            invocation.services.meter.book_usage(
                invocation.request.request_id,
                screened.reply.usage,
                arm=spec.name,
                at=instance.location,
            )
        return screened

    def _free(self, instance: Instance) -> None:
        if instance.places is None:
            return
        scope = registration.scope_of(instance.id)
        if slots.free_in(scope, self._invocation.holder):
            self._invocation.freed(self._spec.name)


def _stays(invocation: Invocation, spec: ArmSpec) -> bool:
    """Tell whether only the instance that may have begun it can be asked."""
    is_one_store = spec.has_store and not spec.shares_store
    return bool(invocation.pinned) and is_one_store and not spec.is_repeatable


def _candidate(instance: Instance) -> Candidate:
    in_flight, latency_s = loads.of(instance.id, probed_s=instance.latency_s)
    return Candidate(
        instance_id=instance.id,
        location=instance.location,
        weight=instance.weight,
        is_degraded=instance.state == "degraded",
        in_flight=in_flight,
        latency_s=latency_s,
    )


@contextmanager
def _told(instance: Instance, *, given_s: float) -> Iterator[None]:
    """Tell breaker, health and metrics how a call went."""
    arm, kind = instance.arm, _kind(instance)
    in_flight = metrics.ARM_IN_FLIGHT.labels(arm)
    in_flight.inc()
    outcome = "stopped"
    try:
        yield
        outcome = "done"
        _note_answer(instance)
    except OctoLLMError as error:
        outcome = _outcome_of(error, given_s)
        if not instance.is_here:
            _note_error(instance, error, outcome)
        raise
    finally:
        in_flight.dec()
        metrics.ARM_CALLS.labels(arm, kind, outcome).inc()


def _outcome_of(error: OctoLLMError, given_s: float) -> str:
    """Return whose making a failure is."""
    if isinstance(error, ArmUnavailableError) and error.is_unstarted:
        return "unstarted"
    if isinstance(error, ArmError) and error.is_outage:
        return "failed"
    if isinstance(error, DeadlineExceededError) and given_s >= FAIR_TIME_S:
        return "failed"
    is_stop = isinstance(error, CallCancelledError | DeadlineExceededError)
    return "stopped" if is_stop or isinstance(error, ArmAwayError) else "refused"


def _note_answer(instance: Instance) -> None:
    if not instance.is_here:
        breakers.succeeded(breaker_of(instance))
        health.note_success(instance)


def _note_error(instance: Instance, error: OctoLLMError, outcome: str) -> None:
    name = breaker_of(instance)
    is_outage = isinstance(error, ArmError) and error.is_outage
    if is_outage or outcome == "failed":
        breakers.failed(name)
        health.note_failure(instance.id, error.message)
    elif outcome == "refused":
        # It answered: what is wrong is the request.
        breakers.succeeded(name)
        health.note_success(instance)
    else:
        breakers.hand_back(name)
    if isinstance(error, ArmUnavailableError):
        breakers.hold_off(name, seconds=error.hold_off_s)


def breaker_of(instance: Instance) -> str:
    """Return the name of an instance's breaker."""
    return registration.breaker_of(instance.arm, instance.id)


def _kind(instance: Instance) -> str:
    return "in-process" if instance.is_here else "elsewhere"
