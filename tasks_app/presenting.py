"""A task as its owner sees it: placeholders are revealed here and nowhere stored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

from django.urls import reverse

from arms.services.judge.privacy import forbids_personal_data
from octollm.errors import VaultError
from octollm.types import JSONObject, JSONValue
from reflex.vault import reveal
from tasks_app.amounts import to_usd
from tasks_app.copied import copied_from
from tasks_app.models import (
    Approval,
    Attempt,
    Plan,
    Step,
    Task,
    TaskEvent,
    TaskResult,
)
from tasks_app.partial import BUDGET_REASONS
from tasks_app.plan_versions import differences
from tasks_app.planning import NEVER
from tasks_app.receipts import cancellation_of


def forbids_pii(task: Task) -> bool:
    """Whether the task wants its result without personal data, so none is revealed."""
    wishes = (*task.constraints, *task.acceptance_criteria)
    return any(forbids_personal_data(wish) for wish in wishes)


def present_task(
    task: Task, *, confidence: Decimal | None, is_own: bool = True
) -> JSONObject:
    """Return the public shape of a task, without its result.

    ``confidence`` is that of its latest result. Nothing is revealed unless the task
    is the reader's own.
    """
    texts: JSONObject = {
        "goal": task.goal,
        "constraints": task.constraints,
        "acceptance_criteria": task.acceptance_criteria,
    }
    shown = _revealed(task, texts) if is_own else texts
    return {
        "task_id": str(task.pk),
        "status": task.status,
        "stage": task.stage,
        "priority": task.priority,
        **shown,
        "budget": {
            "max_cost_usd": f"{task.max_cost_usd:.6f}",
            "max_time_seconds": task.max_time_seconds,
            "max_tokens": task.max_tokens,
        },
        "spent": {
            "cost_usd": f"{task.spent_usd:.9f}",
            "tokens": task.spent_tokens,
            "seconds": task.seconds_run,
        },
        "confidence": _number(confidence),
        "error": task.error,
        "stop_reason": task.stop_reason,
        "plan_only": task.plan_only,
        "approval_mode": task.approval,
        "run": task.run,
        "plan_version": task.plan_version,
        **_origin(task),
        "created_at": _iso(task.created_at),
        "updated_at": _iso(task.updated_at),
        "started_at": _iso(task.started_at),
        "finished_at": _iso(task.finished_at),
        "removed_parts": task.removed_parts,
        "links": links_of(task),
    }


def _origin(task: Task) -> JSONObject:
    """Return what a task was forked from, and the model that it is bound to."""
    return {
        "forked_from": str(task.forked_from_id) if task.forked_from_id else None,
        "forked_step": task.forked_step or None,
        "model": task.model or None,
    }


def present_task_with_result(
    task: Task, result: TaskResult | None, *, is_own: bool = True
) -> JSONObject:
    """Return the public shape of a task with its latest result and question."""
    confidence = None if result is None else result.confidence
    shown = present_task(task, confidence=confidence, is_own=is_own)
    data = None if result is None else result.result_data
    if result is not None and is_own:
        data = present_result_data(task, result)
    return shown | {
        "result": data,
        "approval": _approval(task, is_own=is_own),
        "cancellation": _cancellation(task),
    }


def present_listed(task: Task, *, confidence: Decimal | None) -> JSONObject:
    """Return a task among others: one whose vault key is lost must not hide them."""
    return _as_far_as_known(task, partial(present_task, task, confidence=confidence))


def present_changed(task: Task, result: TaskResult | None) -> JSONObject:
    """Return a task that was just changed, which an error would deny."""
    return _as_far_as_known(task, partial(present_task_with_result, task, result))


def _as_far_as_known(task: Task, present: Callable[..., JSONObject]) -> JSONObject:
    """Leave the placeholders, and say why, where the task's vault cannot be read."""
    try:
        return present(is_own=True)
    except VaultError:
        parts: list[JSONValue] = [*task.removed_parts, "vault_key"]
        return present(is_own=False) | {"removed_parts": parts}


def _approval(task: Task, *, is_own: bool) -> JSONObject | None:
    """Return the latest question about a plan of the task, or nothing."""
    if task.approval == NEVER:
        return None
    asked = Approval.objects.filter(task=task).order_by("-plan_version").first()
    if asked is None:
        return None
    texts: JSONObject = {"beyond": asked.beyond, "comment": asked.comment or None}
    return {
        "state": asked.state,
        "plan_version": asked.plan_version,
        "digest": asked.digest,
        "reason": asked.reason,
        "needs_operator": asked.needs_operator,
        "estimated_cost_usd": f"{asked.estimated_cost:.6f}",
        "requested_at": _iso(asked.requested_at),
        "expires_at": _iso(asked.expires_at),
        "decided_at": _iso(asked.decided_at),
        "decided_by": asked.decided_by or None,
        **(_revealed(task, texts) if is_own else texts),
    }


def present_result(task: Task, result: TaskResult) -> JSONObject:
    """Return the public shape of one result."""
    return {
        "id": str(result.pk),
        "result_data": present_result_data(task, result),
        "confidence": _number(result.confidence),
        "created_at": _iso(result.created_at),
        "run": result.run,
        "plan_version": result.plan_version,
    }


def present_result_data(task: Task, result: TaskResult) -> JSONValue:
    """Return the result as the owner may see it."""
    if forbids_pii(task):
        return dict(result.result_data)
    return _revealed(task, result.result_data)


def present_plan(task: Task, plan: Plan, steps: list[Step]) -> JSONObject:
    """Return the public shape of a plan version with its steps in order."""
    by_id = {step.pk: step for step in steps}
    ordered = [by_id[pk] for pk in plan.step_ids if pk in by_id]
    tried = _attempts(task)
    listed: list[JSONValue] = [_step(step, tried[step.pk]) for step in ordered]
    shown = _revealed(task, {"steps": listed, "result": plan.result})
    return {
        "task_id": str(task.pk),
        "version": plan.version,
        "source": plan.source,
        "recipe": plan.recipe or None,
        "model": plan.model or None,
        "prompt_version": plan.prompt_version or None,
        **shown,
        "repairs": plan.repairs,
        "unserved": plan.unserved,
        "total_estimated_cost": f"{plan.total_estimated_cost:.6f}",
        "total_estimated_time": plan.total_estimated_time,
        "sum_estimated_time": plan.sum_estimated_time,
        "created_at": _iso(plan.created_at),
    }


def present_versions(plans: list[Plan], steps: list[Step]) -> list[JSONObject]:
    """Return what versions of a plan there are, and how each changed the last."""
    changed = differences(plans, steps)
    return [
        {
            "version": plan.version,
            "source": plan.source,
            "reason": plan.reason,
            "run": plan.run,
            "created_at": _iso(plan.created_at),
            "diff": changed[plan.version].to_json(),
        }
        for plan in plans
    ]


def present_event(event: TaskEvent) -> JSONObject:
    """Return the public shape of an event; it holds ids and codes, no texts."""
    return {
        "seq": event.seq,
        "type": event.type,
        "at": _iso(event.at),
        "data": event.data,
    }


def links_of(task: Task) -> dict[str, JSONValue]:
    """Return the addresses of a task's parts, and of what may be done with it now."""
    base = reverse("task", args=[task.pk])
    parts = ["results", "plan", "events", "ledger", "cancel", "fork"]
    if task.stage == Task.Stage.AWAITING_APPROVAL:
        parts += ["approve", "reject"]
    if task.status not in (Task.Status.COMPLETED, Task.Status.CANCELLED):
        parts.append("budget")
    if task.status == Task.Status.FAILED and task.stop_reason not in BUDGET_REASONS:
        parts.append("retry")
    return {"self": base, **{part: f"{base}/{part}" for part in parts}}


def _cancellation(task: Task) -> JSONValue:
    receipt = cancellation_of(task)
    if receipt is None:
        return None
    before_nano, before_tokens = task.cancel_spent_nano, task.cancel_spent_tokens
    return {
        "state": receipt.state,
        "requested_at": _iso(receipt.requested_at),
        "aborted_at": _iso(receipt.aborted_at),
        "settled_at": _iso(receipt.settled_at),
        "calls_in_flight": receipt.calls,
        "spent_before": _amount(before_nano, before_tokens),
        "spent_after": _amount(
            task.spent_nano - before_nano, task.spent_tokens - before_tokens
        ),
    }


def _amount(nano: int, tokens: int) -> JSONObject:
    return {"cost_usd": f"{to_usd(nano):.9f}", "tokens": tokens}


def _attempts(task: Task) -> dict[UUID, list[JSONValue]]:
    """Return the attempts at each step: where it was done, and why there."""
    tried: dict[UUID, list[JSONValue]] = defaultdict(list)
    for attempt in Attempt.objects.filter(step__task=task).defer("log").order_by("id"):
        tried[attempt.step_id].append(
            {
                "number": attempt.number,
                "outcome": attempt.outcome,
                "error_code": attempt.error_code or None,
                "instance": attempt.instance or None,
                "reason": attempt.reason or None,
                "queued_s": _number(attempt.queued_s),
                "started_at": _iso(attempt.started_at),
                "finished_at": _iso(attempt.finished_at),
            }
        )
    return tried


def _step(step: Step, tried: list[JSONValue]) -> JSONObject:
    return {
        "step_id": step.step_id,
        "kind": step.kind,
        "description": step.description,
        "arm": step.arm,
        "capability": step.capability,
        "depends_on": list(step.depends_on),
        "input": step.input,
        "criteria": list(step.criteria),
        "estimated_cost": f"{step.estimated_cost:.6f}",
        "estimated_time": step.estimated_time,
        "estimated_time_p90": step.estimated_time_p90,
        "status": step.status,
        "attempt_count": step.attempt_count,
        "attempts": tried,
        "copied_from": copied_from(step),
        "confidence": _number(step.confidence),
        "error": step.error,
        "started_at": _iso(step.started_at),
        "finished_at": _iso(step.finished_at),
    }


def _revealed(task: Task, document: JSONObject) -> dict[str, Any]:
    shown = reveal(document, scope_ids=(task.pk, task.owner_id), types=None)
    assert isinstance(shown, dict)  # noqa: S101  # an object stays one
    return shown


def _number(confidence: Decimal | float | None) -> float | None:
    return None if confidence is None else round(float(confidence), 4)


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat()
