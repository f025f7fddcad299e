"""Rows for tests: plain functions, valid by default."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.utils import timezone

from octollm.access.models import Owner
from reflex.vault import Concealable, open_vault
from tasks_app.finish import close_cancelled
from tasks_app.models import Charge, Plan, Step, Task
from tasks_app.turn import Claim, Ending, open_task, task_turn


def make_owner(name: str = "") -> Owner:
    """Return an owner of its own."""
    return Owner.objects.create(name=name or f"owner-{uuid4().hex[:8]}")


def make_task(*, owner: Owner | None = None, **overrides: Any) -> Task:
    """Return an accepted task whose plan step is ready."""
    overrides.setdefault("goal", "Count the words")
    task = Task(owner=owner or make_owner(), **overrides)
    open_task(task)
    task.refresh_from_db()
    return task


def make_step(
    step_id: str, *, depends_on: tuple[str, ...] = (), **overrides: Any
) -> Step:
    """Return a work step that is in no database yet."""
    fields: dict[str, Any] = {
        "kind": Step.Kind.WORK,
        "arm": "gate",
        "capability": "echo",
        "input": {"value": step_id},
    }
    return Step(step_id=step_id, depends_on=list(depends_on), **(fields | overrides))


def make_judge(**overrides: Any) -> Step:
    """Return a judge step that is in no database yet."""
    fields = {"kind": Step.Kind.JUDGE, "arm": "judge", "capability": "check_criteria"}
    return Step(step_id="judge", **(fields | overrides))


def make_plan(**overrides: Any) -> Plan:
    """Return a plan's row that is in no database yet."""
    fields: dict[str, Any] = {
        "source": "caller",
        "total_estimated_cost": Decimal(0),
        "total_estimated_time": 0.0,
        "sum_estimated_time": 0.0,
    }
    return Plan(**(fields | overrides))


def make_planned_task(*steps: Step, **overrides: Any) -> Task:
    """Return a task whose plan has been made of these steps and a judge."""
    task = make_task(**overrides)
    claim = claim_of(task, "plan")
    with task_turn(task.pk) as turn:
        turn.end_attempt(claim, done({}))
        turn.add_plan(make_plan(), [*steps, make_judge()])
        turn.advance()
    task.refresh_from_db()
    return task


def make_ended_task(*, days_ago: float = 0, **overrides: Any) -> Task:
    """Return a task with one step done and one not, cancelled so many days ago."""
    task = make_planned_task(make_step("a"), make_step("b"), **overrides)
    finish_step(task, "a")
    with task_turn(task.pk) as turn:
        close_cancelled(turn)
    ended_at = timezone.now() - timedelta(days=days_ago)
    Task.objects.filter(pk=task.pk).update(finished_at=ended_at)
    task.refresh_from_db()
    return task


def make_charge(step: Step, **overrides: Any) -> Charge:
    """Return a charge that is held for a call of a step."""
    fields: dict[str, Any] = {
        "purpose": "analysis",
        "model": "m",
        "request_hash": "h",
        "held_nano": 9,
        "held_tokens": 9,
        "price_input": 0,
        "price_output": 0,
        "price_source": "tests",
    }
    fields |= {"task_id": step.task_id, "step": step, "attempt": 1}
    return Charge.objects.create(**(fields | overrides))


def conceal(task: Task, text: str) -> str:
    """Put an e-mail address away under a task and return its placeholder."""
    with open_vault(task.pk) as vault:
        return vault.conceal([Concealable(type="EMAIL", text=text)])[0]


def claim_of(task: Task, step_id: str, *, worker: str = "tests") -> Claim:
    """Claim one ready step of a task."""
    step = Step.objects.get(task=task, step_id=step_id)
    with task_turn(task.pk) as turn:
        claim = turn.start_step(step, worker=worker)
    assert claim is not None, f"{step_id} is {step.status}"
    return claim


def done(output: dict[str, Any]) -> Ending:
    """Return the ending of an attempt that succeeded."""
    return Ending(status=Step.Status.DONE, outcome="done", output=output)


def failed(code: str = "arm_failed") -> Ending:
    """Return the ending of an attempt that failed for good."""
    return Ending(
        status=Step.Status.FAILED,
        outcome="failed",
        error={"code": code, "message": "It failed."},
    )


def finish_step(task: Task, step_id: str, ending: Ending | None = None) -> int:
    """Claim a step and end it; return how many steps became ready."""
    claim = claim_of(task, step_id)
    with task_turn(task.pk) as turn:
        assert turn.end_attempt(claim, ending or done({"value": step_id}))
        return turn.advance()


def statuses(task: Task) -> dict[str, str]:
    """Return the status of each step by its id."""
    return dict(Step.objects.filter(task=task).values_list("step_id", "status"))
