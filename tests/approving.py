"""Tasks whose plan waits for a person, and plans to answer them with."""

from __future__ import annotations

from typing import Any

from tasks_app.approvals import Answer, Decider
from tasks_app.claims import claim_next
from tasks_app.models import Approval, Step, Task
from tasks_app.pipeline import run_step
from tests.builders import claim_of, make_task

# No policy of the tests allows it.
HOST = "evil.example"
OPERATOR = Decider.operator("ada")


def echo(step_id: str, *depends_on: str, **inputs: Any) -> dict[str, Any]:
    """Return a step of the test arm, as a caller writes it."""
    return {
        "step_id": step_id,
        "description": f"Step {step_id}",
        "arm": "gate",
        "capability": "echo",
        "depends_on": list(depends_on),
        "input": {"value": step_id, **inputs},
    }


def chain(**inputs: Any) -> dict[str, Any]:
    """Return a plan of two steps; ``inputs`` go to the second one."""
    second = echo("b", "a", got={"$from": "steps.a.value"}, **inputs)
    return {
        "steps": [echo("a"), second],
        "result": {"last": {"$from": "steps.b.value"}},
    }


def waiting_task(plan: dict[str, Any] | None = None, **fields: Any) -> Task:
    """Return a task whose plan was made and waits, as ``fields`` ask."""
    asked: dict[str, Any] = {"approval": "always", "given_plan": plan or chain()}
    task = make_task(**(asked | fields))
    run_step(claim_of(task, "plan"))
    task.refresh_from_db()
    assert task.stage == "awaiting_approval", task.error
    return task


def question_of(task: Task) -> Approval:
    """Return the latest question about a task's plan."""
    found = Approval.objects.filter(task=task).order_by("-plan_version").first()
    assert found is not None
    return found


def owner_of(task: Task) -> Decider:
    return Decider(name="the owner", owner=task.owner)


def answer(task: Task, **over: Any) -> Answer:
    """Return the answer to what waits now."""
    asked = question_of(task)
    shown: dict[str, Any] = {
        "plan_version": asked.plan_version,
        "digest": asked.digest,
    }
    return Answer(**(shown | over))


def run_all() -> None:
    while (claim := claim_next(("default",), worker="tests")) is not None:
        run_step(claim)


def held(task: Task) -> tuple[int, int]:
    """Return what the task holds, and what its steps do."""
    steps = Step.objects.filter(task=task)
    return Task.objects.get(pk=task.pk).held_nano, sum(s.envelope_nano for s in steps)
