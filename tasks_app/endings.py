"""How an attempt at a step ends, and how a failure is recorded.

A failure makes a retry, a wait, the end of the step or the end of the task; each in one
short turn.
"""

from __future__ import annotations

import logging
import random
from datetime import UTC, datetime
from typing import Any

from django.conf import settings

from arms.contract import ArmReply
from octollm import metrics
from octollm.errors import (
    ArmAwayError,
    ArmUnavailableError,
    BudgetBusyError,
    BudgetExceededError,
    CallCancelledError,
    DeadlineExceededError,
    InvalidPlanError,
    ModelUnavailableError,
    OctoLLMError,
)
from octollm.resilience.backoff import full_jitter
from octollm.types import JSONObject, JSONValue
from tasks_app import steps_read
from tasks_app.finish import close_failed, close_stopped, close_unimproved
from tasks_app.hints import NOTHING, Hints
from tasks_app.models import Attempt, Step
from tasks_app.partial import has_more
from tasks_app.turn import Claim, Ending, Turn, task_turn

logger = logging.getLogger(__name__)
_random = random.Random()  # noqa: S311  # spreads retries, guards nothing
# How many of the shortest pauses a step waits for budget before it asks unasked.
BUDGET_PAUSES = 5
# A step whose arm is away waits for a share of the time that its task has run so far.
ARM_PAUSE_SHARE = 0.2
ARM_PAUSE_S = 10.0


def done(*, output: JSONObject) -> Ending:
    """Return the ending of a step that needed no arm."""
    return Ending(status=Step.Status.DONE, outcome=Attempt.Outcome.DONE, output=output)


def done_by_arm(
    claim: Claim, reply: ArmReply, *, taint: tuple[str, ...] = ()
) -> Ending:
    """Return the ending of a step that an arm has done."""
    return Ending(
        status=Step.Status.DONE,
        outcome=Attempt.Outcome.DONE,
        output=reply.output,
        evidence=reply.evidence,
        confidence=reply.confidence,
        confidence_reason=reply.confidence_reason,
        taint=taint,
        log=reply.logs,
        instance=claim.route.instance,
        reason=claim.route.reason,
    )


# What a failure makes of it -------------------------------------------------------
def settle_error(claim: Claim, error: OctoLLMError) -> Hints:
    """Record what a failure makes of its step, and of its task."""
    if isinstance(error, BudgetBusyError | ArmAwayError | CallCancelledError):
        return _put_off(claim, error)
    if isinstance(error, BudgetExceededError):
        return _stop_task(claim, error, stop_reason=f"budget_{error.limit}")
    if isinstance(error, DeadlineExceededError):
        return _stop_task(claim, error, stop_reason="deadline")
    return record_failure(claim, error, is_transient=error.is_transient)


def _put_off(claim: Claim, error: OctoLLMError) -> Hints:
    """Put a step back that nothing is wrong with."""
    if isinstance(error, BudgetBusyError):
        return _wait_for_budget(claim, error)
    if isinstance(error, ArmAwayError):
        return _wait_for_arm(claim, error)
    return _give_back(claim)


def record_failure(claim: Claim, error: OctoLLMError, *, is_transient: bool) -> Hints:
    """Record a retry, or the step's end and what follows from it."""
    is_last = claim.attempt >= settings.OCTOLLM_MAX_ATTEMPTS
    if is_transient and not is_last:
        return _retry(claim, error)
    status = Step.Status.DEAD if is_transient else Step.Status.FAILED
    ending = _failed(claim, error, status=status)
    with task_turn(claim.step.task_id) as turn:
        if not turn.end_attempt(claim, ending):
            return note_late(claim)
        ready = after_failure(turn, claim.step, _details(error))
    log_outcome(claim, status, error.code)
    return Hints(count=ready)


def after_failure(turn: Turn, step: Step, error: JSONObject) -> int:
    """Skip what depended on a step that will not be done; end the task if need be.

    Returns how many steps became ready.
    """
    if step.kind == Step.Kind.WORK:
        turn.skip_dependants()
        if steps_read.is_anything_left(turn.task.pk):
            return turn.advance()
    if step.kind == Step.Kind.PLAN and turn.task.plan_version:
        close_unimproved(turn, error)
    else:
        close_failed(turn, error, stop_reason=f"{step.kind}_failed")
    return 0


def _retry(claim: Claim, error: OctoLLMError) -> Hints:
    ending = Ending(
        status=Step.Status.READY,
        outcome=Attempt.Outcome.RETRY,
        delay_s=_retry_delay_s(claim, error),
        error=_details(error),
        instance=claim.route.instance,
        reason=claim.route.reason,
        keeps_request=not _is_unstarted(claim, error),
    )
    return _put_back(claim, ending, code=error.code)


def _is_unstarted(claim: Claim, error: OctoLLMError) -> bool:
    """Tell whether the invocation provably never started, in no attempt.

    Only then is the next try another one, under a new request id. After anything else,
    also a bug of ours, the arm may have done the work.
    """
    is_unstarted = isinstance(error, ArmUnavailableError) and error.is_unstarted
    return is_unstarted and claim.is_new_request


def _retry_delay_s(claim: Claim, error: OctoLLMError) -> float:
    """Return the pause: not before the provider wants it, not beyond the deadline."""
    longest_s = settings.OCTOLLM_RETRY_MAX_S
    delay_s = full_jitter(
        claim.attempt,
        base_s=settings.OCTOLLM_RETRY_MIN_S,
        cap_s=longest_s,
        random=_random,
    )
    if isinstance(error, ModelUnavailableError) and error.retry_after_s:
        delay_s = max(delay_s, min(error.retry_after_s, longest_s))
    left_s = (claim.deadline_at - datetime.now(UTC)).total_seconds()
    return max(0.0, min(delay_s, left_s))


def _wait_for_budget(claim: Claim, error: BudgetBusyError) -> Hints:
    """Put the step back: what it needs is held by others and may come free.

    Who gives it back wakes the step; asking again by itself is for what they miss.
    """
    with task_turn(claim.step.task_id) as turn:
        is_woken = claim.step.pk not in turn.task.budget_waiters
        pause_s = 0.0 if is_woken else BUDGET_PAUSES * settings.OCTOLLM_RETRY_MIN_S
        ending = _released(delay_s=pause_s, error=_details(error))
        if not turn.end_attempt(claim, ending):
            return note_late(claim)
    log_outcome(claim, ending.outcome, error.code)
    return Hints(count=1, delay_s=ending.delay_s)


def _wait_for_arm(claim: Claim, error: ArmAwayError) -> Hints:
    """Put the step back until an instance can take it; at the deadline it fails.

    No attempt is used up: nobody has tried.
    """
    pause_s = _arm_pause_s(claim, error)
    left_s = (claim.deadline_at - datetime.now(UTC)).total_seconds()
    metrics.ARM_WAITS.labels(claim.step.arm, error.code).inc()
    if pause_s >= left_s:
        over = ArmUnavailableError(error.message, arm_name=error.arm_name)
        return record_failure(claim, over, is_transient=False)
    ending = _released(
        delay_s=pause_s,
        error=_details(error),
        keeps_request=not error.is_unstarted,
        instance=claim.route.instance,
        reason=claim.route.reason,
    )
    return _put_back(claim, ending, code=error.code)


def _arm_pause_s(claim: Claim, error: ArmAwayError) -> float:
    """Return the pause: the longer the task has run, the longer, ten seconds at most."""
    started_at = claim.task.started_at or datetime.now(UTC)
    run_s = (datetime.now(UTC) - started_at).total_seconds()
    bound_s = min(ARM_PAUSE_S, max(error.wait_s, run_s * ARM_PAUSE_SHARE))
    return bound_s * _random.uniform(0.5, 1.0)


def _give_back(claim: Claim) -> Hints:
    """Put a step back that was stopped here; a lost claim stays lost.

    Its request id stays with it: nobody knows how far the invocation got.
    """
    return _put_back(claim, _released(keeps_request=True), code="stopped")


def _released(**details: Any) -> Ending:
    """Return the ending of an attempt that is given back and does not count."""
    return Ending(
        status=Step.Status.READY,
        outcome=Attempt.Outcome.RELEASED,
        is_counted=False,
        **details,
    )


def _put_back(claim: Claim, ending: Ending, *, code: str) -> Hints:
    """Make the step ready again, after the ending's delay."""
    with task_turn(claim.step.task_id) as turn:
        if not turn.end_attempt(claim, ending):
            return note_late(claim)
    log_outcome(claim, ending.outcome, code)
    return Hints(count=1, delay_s=ending.delay_s)


def _stop_task(claim: Claim, error: OctoLLMError, *, stop_reason: str) -> Hints:
    """End the task with what there is, unless the limit was raised meanwhile."""
    with task_turn(claim.step.task_id) as turn:
        is_over = not has_more(turn.task, since=claim.task, stop_reason=stop_reason)
        ending = (
            _failed(claim, error, status=Step.Status.FAILED)
            if is_over
            else _released(keeps_request=True, error=_details(error))
        )
        if not turn.end_attempt(claim, ending):
            return note_late(claim)
        if is_over and claim.step.kind == Step.Kind.PLAN and turn.task.plan_version:
            close_unimproved(turn, _details(error))
        elif is_over:
            close_stopped(turn, _details(error), stop_reason=stop_reason)
    log_outcome(claim, "stopped" if is_over else ending.outcome, error.code)
    return NOTHING if is_over else Hints(count=1)


def _failed(claim: Claim, error: OctoLLMError, *, status: Step.Status) -> Ending:
    return Ending(
        status=status,
        outcome=Attempt.Outcome.FAILED,
        # Another run may try a dead step again: its arm may have done the work.
        keeps_request=status == Step.Status.DEAD and not _is_unstarted(claim, error),
        error=_details(error),
        instance=claim.route.instance,
        reason=claim.route.reason,
    )


def _details(error: OctoLLMError) -> JSONObject:
    details: JSONObject = {"code": error.code, "message": error.message}
    if isinstance(error, InvalidPlanError):
        details["violations"] = list[JSONValue](error.violations)
    return details


def note_late(claim: Claim) -> Hints:
    """Log a record that came after its claim was lost."""
    log_outcome(claim, "late")
    return NOTHING


def log_outcome(claim: Claim, outcome: str, code: str = "") -> None:
    """Log how an attempt ended."""
    # A dead step is one that a person should look at.
    levels = {"done": logging.INFO, "dead": logging.ERROR}
    logger.log(
        levels.get(outcome, logging.WARNING),
        "a step's attempt ended as %s",
        outcome,
        extra={
            "task_id": str(claim.step.task_id),
            "step_id": claim.step.step_id,
            "attempt": claim.attempt,
            "error_code": code,
        },
    )
