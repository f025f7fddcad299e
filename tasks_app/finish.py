"""How a task ends: judged, failed, or stopped with what there is.

Called inside a turn; each function closes the task exactly once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, Field, ValidationError

from octollm import metrics
from octollm.types import JSONObject
from planner.plan import Plan
from tasks_app import rounds
from tasks_app.amounts import Amount
from tasks_app.models import Task, Verdict
from tasks_app.partial import shortfall
from tasks_app.quotes import quote_of, quoted
from tasks_app.results import Assembly, Finding, assemble
from tasks_app.rounds import Round
from tasks_app.steps_read import Draft, draft_result
from tasks_app.turn import Turn


class _JudgedItem(BaseModel):
    """One verdict as the judge sent it; anything else in the reply is ignored."""

    criterion: str
    verdict: Literal["met", "not_met", "not_checked"]
    kind: Literal["criterion", "constraint"] = "criterion"
    evidence: str = Field(default="", max_length=20_000)
    method: str = Field(default="", max_length=200)
    score: float | None = Field(default=None, ge=0, le=1)


class _Judgement(BaseModel):
    verdicts: list[_JudgedItem]


def close_judged(turn: Turn, draft: Draft, output: JSONObject, *, task: Task) -> None:
    """End a task by the judge's verdicts; if they are wanting, with the best version."""
    findings = findings_of(output, task)
    assembly = assemble(
        draft.values,
        steps=draft.steps,
        findings=findings,
        is_partial=not draft.is_whole,
    )
    if assembly.is_met:
        _close(turn, Task.Status.COMPLETED, assembly, task=task)
        return
    turn.record_verdicts(verdicts_of(findings))
    _close_unmet(turn, task)


def close_unimproved(turn: Turn, why: JSONObject) -> None:
    """End a task for which no better plan can be had, with the best version so far.

    ``why`` is the error that says so.
    """
    task = Task.objects.get(pk=turn.task.pk)
    is_judged_by = bool(task.acceptance_criteria or task.constraints)
    if is_judged_by and rounds.best(task) is None:
        # Asked for by the caller, in a run that has judged nothing yet.
        close_failed(turn, why, stop_reason="plan_failed")
        return
    _close_unmet(turn, task, why=why)


def _close_unmet(turn: Turn, task: Task, *, why: JSONObject | None = None) -> None:
    """End a task with the best version that was judged, none of them good enough."""
    chosen = rounds.best(task) or Round(version=task.plan_version, findings=())
    draft = draft_result(task, version=chosen.version)
    unmet, count = chosen.counts["not_met"], len(chosen.findings)
    error: JSONObject = draft.first_error or {
        "code": "criteria_not_met",
        "message": f"{unmet} of {count} criteria are not met.",
    }
    reason = "criteria_not_met" if unmet else "work_failed"
    if why is not None:
        error = error | {"replan_error": why}
        reason = "no_progress" if why["code"] == "no_progress" else reason
    _close(
        turn,
        Task.Status.FAILED,
        rounds.assembled(draft, chosen),
        task=task,
        stop_reason=reason,
        error=error,
    )


def verdicts_of(findings: Sequence[Finding]) -> list[Verdict]:
    """Return the rows of findings; their place says which criterion they are about."""
    return [
        Verdict(position=position, **asdict(finding))
        for position, finding in enumerate(findings)
    ]


def close_planned(turn: Turn, made: Plan, judging: Amount, *, task: Task) -> None:
    """End a task that was only to be planned, with its priced plan."""
    quote = quote_of(made, judging, turn.task)
    findings = _not_checked(task, why="The task was only planned.")
    assembly = quoted(made, quote, findings=findings)
    _close(turn, Task.Status.COMPLETED, assembly, task=task)


def close_failed(turn: Turn, error: JSONObject, *, stop_reason: str) -> None:
    """End a task that cannot go on, with what its steps left."""
    _close_unjudged(
        turn,
        Task.Status.FAILED,
        why="The task failed before it was judged.",
        stop_reason=stop_reason,
        error=error,
    )


def close_stopped(turn: Turn, error: JSONObject, *, stop_reason: str) -> None:
    """End a task at a limit, with what its steps left."""
    _close_unjudged(
        turn,
        Task.Status.FAILED,
        why=f"The task was stopped before it was judged: {stop_reason}.",
        stop_reason=stop_reason,
        error=error,
    )


def close_cancelled(turn: Turn) -> None:
    """End a task on its caller's wish, with what its steps left."""
    _close_unjudged(
        turn,
        Task.Status.CANCELLED,
        why="The task was cancelled before it was judged.",
        stop_reason="cancelled",
    )


def close_unapproved(turn: Turn, *, stop_reason: str) -> None:
    """End a task whose plan no person wanted run, with what earlier versions left."""
    _close_unjudged(
        turn,
        Task.Status.CANCELLED,
        why=f"The plan was not run: {stop_reason}.",
        stop_reason=stop_reason,
    )


def _close_unjudged(
    turn: Turn,
    status: Task.Status,
    *,
    why: str,
    stop_reason: str,
    error: JSONObject | None = None,
) -> None:
    """End a task with what there is; every criterion is not checked, with the reason.

    If an earlier version was judged, that one: what is known of it is worth more.
    """
    task = Task.objects.get(pk=turn.task.pk)
    if (best := rounds.best(task)) is not None:
        draft = draft_result(task, version=best.version)
        assembly = rounds.assembled(draft, best)
    else:
        draft = draft_result(task)
        assembly = assemble(
            draft.values,
            steps=draft.steps,
            findings=_not_checked(task, why=why),
            is_partial=True,
        )
    _close(turn, status, assembly, task=task, stop_reason=stop_reason, error=error)


def _close(
    turn: Turn,
    status: Task.Status,
    assembly: Assembly,
    *,
    task: Task,
    stop_reason: str = "",
    error: JSONObject | None = None,
) -> None:
    if assembly.plan_version is None:
        turn.record_verdicts(verdicts_of(assembly.findings))
    data = assembly.data
    if turn.task.plan_version > 1 and len(found := rounds.judged(turn.task)) > 1:
        data = data | {"rounds": [each.to_json() for each in found]}
    if status != Task.Status.COMPLETED:
        data = data | shortfall(
            task, locked=turn.task, findings=assembly.findings, stop_reason=stop_reason
        )
    turn.close(
        status,
        result=data,
        confidence=assembly.confidence,
        stop_reason=stop_reason,
        error=error,
        plan_version=assembly.plan_version,
    )
    elapsed = datetime.now(UTC) - turn.task.created_at
    metrics.TASKS.labels(status).inc()
    metrics.TASK_DURATION.labels(status).observe(elapsed.total_seconds())


def _not_checked(task: Task, *, why: str) -> list[Finding]:
    return [
        Finding(criterion=criterion, verdict="not_checked", evidence=why)
        for criterion in task.acceptance_criteria
    ]


def findings_of(output: JSONObject, task: Task) -> tuple[Finding, ...]:
    """Take the judge's verdicts; what it left out is not checked.

    The criteria are the task's own, in their order: a judge can neither drop nor
    invent one. Of the constraints those count that it could say something about.
    """
    try:
        items = _Judgement.model_validate(output).verdicts
    except ValidationError:
        items = []
    by_text: dict[tuple[str, str], _JudgedItem] = {
        (item.kind, item.criterion): item for item in items
    }
    asked = [("criterion", text) for text in task.acceptance_criteria]
    asked += [("constraint", text) for text in task.constraints]
    return tuple(
        _finding(kind, text, by_text.get((kind, text))) for kind, text in asked
    )


def _finding(kind: str, text: str, item: _JudgedItem | None) -> Finding:
    if item is None:
        return Finding(
            kind=kind,
            criterion=text,
            verdict="not_checked",
            evidence="The judge gave no verdict.",
        )
    return Finding(**item.model_dump())
