"""The story of a task: plan, work, judge; one function per kind of step.

Each takes a claim, does its work without any lock, and records what came of it in
one short turn. A failure is recorded, not raised: the queue retries nothing.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial

from django.db import InterfaceError, OperationalError

from arms import boundary, dispatch
from arms.contract import ArmRequest, ArmServices, StepBudget
from octollm import metrics
from octollm.errors import DatabaseUnavailableError, OctoLLMError
from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject
from planner.plan import Plan, resolve
from planner.planning import make_plan
from tasks_app import (
    approvals,
    planning,
    replanning,
    revisions,
    rounds,
    routes,
    steps_read,
)
from tasks_app.amounts import Amount, to_usd
from tasks_app.claims import held_claims
from tasks_app.copied import compile_without, copied_steps
from tasks_app.endings import (
    done,
    done_by_arm,
    log_outcome,
    note_late,
    record_failure,
    settle_error,
)
from tasks_app.finish import (
    close_judged,
    close_planned,
    close_unimproved,
    findings_of,
    verdicts_of,
)
from tasks_app.hints import NOTHING, Hints
from tasks_app.ledger import TaskMeter
from tasks_app.models import Step, Task
from tasks_app.turn import Claim, Turn, task_turn

logger = logging.getLogger(__name__)


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
            log_outcome(claim, "late", "task_deleted")
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
        return settle_error(claim, error)
    except (InterfaceError, OperationalError):
        # It counts: a statement that ends its backend each time must not go on so.
        logger.warning("a step lost its database", exc_info=True)
        away = DatabaseUnavailableError("The database was away while the step ran.")
        return record_failure(claim, away, is_transient=True)
    except Exception:
        # A bug in one step must not end the loop that runs the others.
        logger.exception("a step failed unexpectedly")
        bug = OctoLLMError("Something went wrong here; the logs say what.")
        return record_failure(claim, bug, is_transient=True)


@contextmanager
def _observed(arm: str) -> Iterator[None]:
    """Measure one attempt."""
    began = time.perf_counter()
    try:
        yield
    finally:
        metrics.STEP_DURATION.labels(arm).observe(time.perf_counter() - began)


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
        if not turn.end_attempt(claim, done(output=version)):
            return note_late(claim)
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
    log_outcome(claim, "done")
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
        if not turn.end_attempt(claim, done(output={"stopped": why["code"]})):
            return note_late(claim)
        close_unimproved(turn, why)
    log_outcome(claim, "done")
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
    asked = task.taint if steps_read.reads_request(claim.step) else ()
    taint = tuple(sorted({*screened.taint, *needed.taint, *asked}))
    ending = done_by_arm(claim, screened.reply, taint=taint)
    with task_turn(task.pk) as turn:
        screened.record()
        if not turn.end_attempt(claim, ending):
            return note_late(claim)
        ready = turn.advance()
    log_outcome(claim, "done")
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
    ending = done_by_arm(claim, screened.reply)
    findings = findings_of(screened.reply.output, task)
    wish = replanning.wish_for(task, draft, findings)
    with task_turn(task.pk) as turn:
        screened.record()
        if not turn.end_attempt(claim, ending):
            return note_late(claim)
        if wish is not None and replanning.is_affordable(turn.task, wish):
            turn.record_verdicts(verdicts_of(findings))
            ready = replanning.replan(turn, wish)
        else:
            close_judged(turn, draft, screened.reply.output, task=task)
            ready = 0
    log_outcome(claim, "done")
    return Hints(count=ready)


# What a stage needs ---------------------------------------------------------------
def _invoke(
    claim: Claim, stop: StopToken, step_input: JSONObject
) -> boundary.ScreenedReply:
    """Let an instance of the step's arm work, inside the boundary."""
    return dispatch.invoke(
        dispatch.Invocation(
            request=_request(claim, step_input),
            arm=claim.step.arm,
            services=_services(claim, stop),
            scopes=boundary.Scopes(task=claim.task.pk, knowledge=claim.task.owner_id),
            is_new=claim.is_new_request,
            is_retry=claim.attempt > 1,
            holder=claim.claim_id,
            pinned=routes.pinned(claim),
            may_fall_back=partial(routes.may_fall_back, claim),
            note=partial(routes.note, claim),
            freed=routes.wake_waiting,
        )
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
        traceparent=_trace_of(claim),
        budget=StepBudget(
            max_cost_usd=to_usd(task.free_nano + claim.step.envelope_nano),
            max_tokens=task.free_tokens + claim.step.envelope_tokens,
            deadline_at=claim.deadline_at,
        ),
    )


def _trace_of(claim: Claim) -> str:
    """Return the W3C trace context: the task is the trace, the attempt the parent."""
    return f"00-{claim.task.pk.hex}-{claim.claim_id.hex[-16:]}-01"
