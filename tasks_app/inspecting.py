"""What an operator is shown of tasks and steps outside the admin; all of it concealed."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime
from uuid import UUID

from django.db.models import Count

from octollm.types import JSONObject, JSONValue
from tasks_app.models import Attempt, Step, Task


def dead_steps(limit: int) -> list[JSONObject]:
    """Return the steps that used up their attempts, the latest first."""
    dead = (
        Step.objects.filter(status=Step.Status.DEAD)
        .annotate(tries=Count("attempts"))
        .order_by("-finished_at")
        .defer("input", "output", "evidence")
    )
    return [
        {
            "task_id": str(step.task_id),
            "step_id": step.step_id,
            "kind": step.kind,
            "arm": step.arm,
            "capability": step.capability,
            "attempts": step.tries,
            "error_code": (step.error or {}).get("code"),
            "error_message": (step.error or {}).get("message"),
            "at": _iso(step.finished_at),
        }
        for step in dead[:limit]
    ]


def inspect_task(task_id: UUID) -> JSONObject:
    """Return how a task stands, with its steps and every attempt at them.

    Raises:
        Task.DoesNotExist: there is no such task.
    """
    task = Task.objects.get(pk=task_id)
    tried: dict[UUID, list[JSONValue]] = defaultdict(list)
    for attempt in Attempt.objects.filter(step__task=task).order_by("id"):
        tried[attempt.step_id].append(_attempt(attempt))
    steps = Step.objects.filter(task=task).order_by("id")
    return {
        "task_id": str(task.pk),
        "goal": task.goal,
        "status": task.status,
        "stage": task.stage,
        "stop_reason": task.stop_reason,
        "error": task.error,
        "run": task.run,
        "plan_version": task.plan_version,
        "forked_from": str(task.forked_from_id) if task.forked_from_id else None,
        "spent": {
            "cost_usd": f"{task.spent_usd:.9f}",
            "tokens": task.spent_tokens,
            "seconds": task.seconds_run,
        },
        "created_at": _iso(task.created_at),
        "finished_at": _iso(task.finished_at),
        "steps": [_step(step, tried[step.pk]) for step in steps.defer("output")],
    }


def _step(step: Step, tried: list[JSONValue]) -> JSONValue:
    return {
        "step_id": step.step_id,
        "kind": step.kind,
        "arm": step.arm,
        "capability": step.capability,
        "status": step.status,
        "error": step.error,
        "attempts": tried,
    }


def _attempt(attempt: Attempt) -> JSONValue:
    return {
        "number": attempt.number,
        "outcome": attempt.outcome,
        "error_code": attempt.error_code,
        "error_message": attempt.error_message,
        "worker": attempt.worker,
        "instance": attempt.instance,
        "reason": attempt.reason,
        "queued_s": attempt.queued_s,
        "started_at": _iso(attempt.started_at),
        "finished_at": _iso(attempt.finished_at),
        "late_at": _iso(attempt.late_at),
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()
