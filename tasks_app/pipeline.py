"""The story of a task: plan, work, judge; one function per kind of step.

Each takes a claim, does its work without any lock, and records what came of it in
one short turn. A failure is recorded, not raised: the queue retries nothing.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import InterfaceError, OperationalError

from arms import boundary
from arms.contract import ArmReply, ArmRequest, ArmServices, StepBudget
from arms.registry import get_arm
from arms.routing import Route, route_of
from octollm import metrics
from octollm.errors import (
    ArmUnavailableError,
    BudgetBusyError,
    BudgetExceededError,
    CallCancelledError,
    DatabaseUnavailableError,
    DeadlineExceededError,
    InvalidPlanError,
    ModelUnavailableError,
    OctoLLMError,
)
from octollm.resilience.backoff import full_jitter
from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject, JSONValue
from planner.plan import Plan, resolve
from planner.planning import make_plan
from tasks_app import approvals, planning, replanning, revisions, rounds, steps_read
from tasks_app.amounts import Amount, to_usd
from tasks_app.claims import held_claims
from tasks_app.copied import compile_without, copied_steps
from tasks_app.finish import (
    close_failed,
    close_judged,
    close_planned,
    close_stopped,
    close_unimproved,
    findings_of,
    verdicts_of,
)
from tasks_app.hints import NOTHING, Hints
from tasks_app.ledger import TaskMeter
from tasks_app.models import Attempt, Step, Task
from tasks_app.partial import has_more
from tasks_app.turn import Claim, Ending, Turn, task_turn

logger = logging.getLogger(__name__)
_random = random.Random()  # noqa: S311  # spreads retries, guards nothing
# How many of the shortest pauses a step waits for budget before it asks unasked.
BUDGET_PAUSES = 5


def run_step(claim: Claim) -> Hints:
    """Run a claimed step to its recorded end and say how many hints to send."""
    left = (claim.deadline_at - datetime.now(UTC)).total_seconds()
    stop = StopToken(left)
    with held_claims.hold(claim, stop), _observed(claim.step.arm):
        try:
            return _run_stage(claim, stop)
        except Task.DoesNotExist:
            # Cancelled and deleted while we worked: there is nothing to record on.
            metrics.CLAIMS.labels("late").inc()
            _log_outcome(claim, "late", "task_deleted")
            return NOTHING


def _run_stage(claim: Claim, stop: StopToken) -> Hints:
    stages: dict[str, Callable[[Claim, StopToken], Hints]] = {
        Step.Kind.PLAN: plan,
        Step.Kind.WORK: work,
        Step.Kind.JUDGE: judge,
    }
    try:
        return stages[claim.step.kind](claim, stop)
    except Task.DoesNotExist:
        raise
    except OctoLLMError as error:
        return _settle_error(claim, error)
    except (InterfaceError, OperationalError):
        # It counts: a statement that ends its backend each time must not go on so.
        logger.warning("a step lost its database", exc_info=True)
        away = DatabaseUnavailableError("The database was away while the step ran.")
        return _record_failure(claim, away, is_transient=True)
    except Exception:
        # A bug in one step must not end the loop that runs the others.
        logger.exception("a step failed unexpectedly")
        bug = OctoLLMError("Something went wrong here; the logs say what.")
        return _record_failure(claim, bug, is_transient=True)


@contextmanager
def _observed(arm: str) -> Iterator[None]:
    """Measure one attempt."""
    began = time.perf_counter()
    try:
        yield
    finally:
        metrics.STEP_DURATION.labels(arm).observe(time.perf_counter() - began)


def _settle_error(claim: Claim, error: OctoLLMError) -> Hints:
    if isinstance(error, BudgetBusyError):
        return _wait_for_budget(claim, error)
    if isinstance(error, BudgetExceededError):
        return _stop_task(claim, error, stop_reason=f"budget_{error.limit}")
    if isinstance(error, DeadlineExceededError):
        return _stop_task(claim, error, stop_reason="deadline")
    if isinstance(error, CallCancelledError):
        return _give_back(claim)
    return _record_failure(claim, error, is_transient=error.is_transient)


# The stages -----------------------------------------------------------------------
def plan(claim: Claim, stop: StopToken) -> Hints:
    """Make the plan, and insert its steps with the judge at the end."""
    task = claim.task
    made = planning.screened(_made(claim, stop), task_id=task.pk)
    if task.plan_version and revisions.brings_nothing_new(task, made):
        return _end_unimproved(claim, replanning.SAME_STEPS)
    kept = revisions.kept_keys(task, made.kept)
    judging, grants = planning.judging_cost(task), made.grants.to_json()
    version: JSONObject = {"plan_version": task.plan_version + 1}
    with task_turn(task.pk) as turn:
        if not turn.end_attempt(claim, _done(output=version)):
            return _note_late(claim)
        if task.plan_only:
            # Nothing will be paid, so nothing is held.
            rows = planning.rows_of(made, judging=judging, free=Amount())
            turn.add_plan(*rows, grants=grants, is_run=False)
            close_planned(turn, made, judging, task=task)
            ready = 0
        else:
            rows = planning.rows_of(
                made,
                judging=judging,
                free=planning.free_of(turn.task),
                judge_id=_judge_id(turn),
                reason=str(claim.step.input.get("reason", "first")),
            )
            question = approvals.question(task, made, steps=rows[1])
            turn.add_plan(*rows, grants=grants, kept=kept, approval=question)
            ready = turn.advance()
    _log_outcome(claim, "done")
    return Hints(count=ready)


def _made(claim: Claim, stop: StopToken) -> Plan:
    """Return another version of the plan, the caller's own plan, or make one."""
    task, services = claim.task, _services(claim, stop)
    if task.plan_version:
        contract = revisions.contract_for(task, claim.step.input)
        return make_plan(contract, services)
    if task.given_plan is not None:
        return compile_without(task, copied_steps(task))
    return make_plan(planning.contract_of(task), services)


def _judge_id(turn: Turn) -> str:
    version = turn.task.plan_version + 1
    return "judge" if version == 1 else replanning.free_id(turn, f"judge-{version}")


def _end_unimproved(claim: Claim, why: JSONObject) -> Hints:
    """End the task: this step shows that going on would bring nothing new."""
    with task_turn(claim.step.task_id) as turn:
        if not turn.end_attempt(claim, _done(output={"stopped": why["code"]})):
            return _note_late(claim)
        close_unimproved(turn, why)
    _log_outcome(claim, "done")
    return NOTHING


def work(claim: Claim, stop: StopToken) -> Hints:
    """Let an arm do one step of the plan."""
    task = claim.task
    needed = steps_read.needs_of(claim.step)
    resolved = resolve(
        claim.step.input, goal=task.goal, context=task.context, outputs=needed.outputs
    )
    screened = _invoke(
        claim, stop, dict(resolved) if isinstance(resolved, dict) else {}
    )
    taint = tuple(sorted({*screened.taint, *needed.taint}))
    ending = _done_by_arm(claim, screened.reply, taint=taint)
    with task_turn(task.pk) as turn:
        screened.record()
        if not turn.end_attempt(claim, ending):
            return _note_late(claim)
        ready = turn.advance()
    _log_outcome(claim, "done")
    return Hints(count=ready)


def judge(claim: Claim, stop: StopToken) -> Hints:
    """Judge the result against every criterion and constraint.

    The task ends with it, or goes back to planning if that can mend what is wanting.
    """
    task = claim.task
    draft = steps_read.draft_result(task)
    if rounds.same_result_before(task, draft) is not None:
        return _end_unimproved(claim, replanning.SAME_RESULT)
    screened = _invoke(
        claim,
        stop,
        {
            "result": draft.judged_values,
            "outputs": {s.step_id: s.output for s in draft.steps if s.output},
            "criteria": list(task.acceptance_criteria),
            "constraints": list(task.constraints),
        },
    )
    ending = _done_by_arm(claim, screened.reply)
    findings = findings_of(screened.reply.output, task)
    wish = replanning.wish_for(task, draft, findings)
    with task_turn(task.pk) as turn:
        screened.record()
        if not turn.end_attempt(claim, ending):
            return _note_late(claim)
        if wish is not None and replanning.is_affordable(turn.task, wish):
            turn.record_verdicts(verdicts_of(findings))
            ready = replanning.replan(turn, wish)
        else:
            close_judged(turn, draft, screened.reply.output, task=task)
            ready = 0
    _log_outcome(claim, "done")
    return Hints(count=ready)


# What a stage needs ---------------------------------------------------------------
def _invoke(
    claim: Claim, stop: StopToken, step_input: JSONObject
) -> boundary.ScreenedReply:
    """Let the step's arm work, inside the boundary."""
    return boundary.call(
        _request(claim, step_input),
        arm=get_arm(claim.step.arm),
        services=_services(claim, stop),
        scopes=boundary.Scopes(task=claim.task.pk, knowledge=claim.task.owner_id),
        is_new=claim.is_new_request,
    )


def _services(claim: Claim, stop: StopToken) -> ArmServices:
    return ArmServices(
        meter=TaskMeter(claim),
        stop=stop,
        knowledge_scope=claim.task.owner_id,
        model=claim.task.model,
    )


def _request(claim: Claim, step_input: JSONObject) -> ArmRequest:
    task, criteria = claim.task, list(claim.task.acceptance_criteria)
    return ArmRequest(
        request_id=claim.request_id,
        task_id=task.pk,
        step_id=claim.step.step_id,
        attempt=claim.attempt,
        capability=claim.step.capability,
        description=claim.step.description,
        input=step_input,
        constraints=list(task.constraints),
        criteria=[criteria[i] for i in claim.step.criteria if i < len(criteria)],
        budget=StepBudget(
            max_cost_usd=to_usd(task.free_nano + claim.step.envelope_nano),
            max_tokens=task.free_tokens + claim.step.envelope_tokens,
            deadline_at=claim.deadline_at,
        ),
    )


def _done(*, output: JSONObject) -> Ending:
    return Ending(status=Step.Status.DONE, outcome=Attempt.Outcome.DONE, output=output)


def _done_by_arm(
    claim: Claim, reply: ArmReply, *, taint: tuple[str, ...] = ()
) -> Ending:
    route = _route(claim)
    return Ending(
        status=Step.Status.DONE,
        outcome=Attempt.Outcome.DONE,
        output=reply.output,
        evidence=reply.evidence,
        confidence=reply.confidence,
        confidence_reason=reply.confidence_reason,
        taint=taint,
        log=reply.logs,
        instance=route.instance,
        reason=route.reason,
    )


def _route(claim: Claim) -> Route:
    return route_of(claim.step.arm, is_repeat=not claim.is_new_request)


# How a step can fail ----------------------------------------------------------------
def _record_failure(claim: Claim, error: OctoLLMError, *, is_transient: bool) -> Hints:
    """Record a retry, or the step's end and what follows from it."""
    is_last = claim.attempt >= settings.OCTOLLM_MAX_ATTEMPTS
    if is_transient and not is_last:
        return _retry(claim, error)
    status = Step.Status.DEAD if is_transient else Step.Status.FAILED
    ending = _failed(claim, error, status=status)
    with task_turn(claim.step.task_id) as turn:
        if not turn.end_attempt(claim, ending):
            return _note_late(claim)
        ready = after_failure(turn, claim.step, _details(error))
    _log_outcome(claim, status, error.code)
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
    route = _route(claim)
    ending = Ending(
        status=Step.Status.READY,
        outcome=Attempt.Outcome.RETRY,
        delay_s=_retry_delay_s(claim, error),
        error=_details(error),
        instance=route.instance,
        reason=route.reason,
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
            return _note_late(claim)
    _log_outcome(claim, ending.outcome, error.code)
    return Hints(count=1, delay_s=ending.delay_s)


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
            return _note_late(claim)
    _log_outcome(claim, ending.outcome, code)
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
            return _note_late(claim)
        if is_over and claim.step.kind == Step.Kind.PLAN and turn.task.plan_version:
            close_unimproved(turn, _details(error))
        elif is_over:
            close_stopped(turn, _details(error), stop_reason=stop_reason)
    _log_outcome(claim, "stopped" if is_over else ending.outcome, error.code)
    return NOTHING if is_over else Hints(count=1)


def _failed(claim: Claim, error: OctoLLMError, *, status: Step.Status) -> Ending:
    route = _route(claim)
    return Ending(
        status=status,
        outcome=Attempt.Outcome.FAILED,
        # Another run may try a dead step again: its arm may have done the work.
        keeps_request=status == Step.Status.DEAD and not _is_unstarted(claim, error),
        error=_details(error),
        instance=route.instance,
        reason=route.reason,
    )


def _details(error: OctoLLMError) -> JSONObject:
    details: JSONObject = {"code": error.code, "message": error.message}
    if isinstance(error, InvalidPlanError):
        details["violations"] = list[JSONValue](error.violations)
    return details


def _note_late(claim: Claim) -> Hints:
    _log_outcome(claim, "late")
    return NOTHING


def _log_outcome(claim: Claim, outcome: str, code: str = "") -> None:
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
