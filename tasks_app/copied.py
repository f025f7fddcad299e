"""Steps of a fork whose outputs were taken over from the task that it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal

from octollm.types import JSONObject
from planner import plan as plans
from planner.estimates import longest_chain_s
from tasks_app import planning
from tasks_app.models import Step, Task
from tasks_app.to_finish import estimate_of

# The kind of evidence that says where an output came from.
COPIED = "copied"


def copied_from(step: Step) -> JSONObject | None:
    """Return the task and the step that a step's output was taken over from, if any.

    Evidence is what an arm wrote, except of a step that none ever worked on.
    """
    if step.attempt_count or not step.evidence or step.status != Step.Status.DONE:
        return None
    origin = step.evidence[-1]
    return {"task_id": origin["task_id"], "step_id": origin["step_id"]}


def copied_steps(task: Task) -> list[Step]:
    """Return the steps that came with a fork, before it is planned."""
    if not task.forked_step or task.plan_version:
        return []
    done = Step.objects.filter(
        task_id=task.pk, kind=Step.Kind.WORK, status=Step.Status.DONE
    )
    return list(done.order_by("id").defer("output"))


def compile_without(task: Task, copied: Sequence[Step]) -> plans.Plan:
    """Return a task's given plan, compiled, without the steps that were copied.

    Raises:
        InvalidPlanError: it breaks rules; it carries all violations.
    """
    expected = [estimate_of(step) for step in copied]
    made = planning.compile_given(
        task,
        free_usd=sum((each.cost_usd for each in expected), start=Decimal(0)),
        free_s=sum(each.seconds for each in expected),
    )
    if not copied:
        return made
    names = {step.step_id for step in copied}
    fresh = tuple(step for step in made.steps if step.step_id not in names)
    return replace(
        made,
        steps=fresh,
        kept=tuple(step.step_id for step in copied),
        total_estimated_cost=sum((s.estimated_cost for s in fresh), start=Decimal(0)),
        total_estimated_time=_chain_s(fresh, [s.estimated_time for s in fresh]),
        total_estimated_time_p90=_chain_s(fresh, [s.estimated_time_p90 for s in fresh]),
        sum_estimated_time=round(sum(s.estimated_time for s in fresh), 3),
    )


def _chain_s(steps: Sequence[plans.PlannedStep], seconds: Sequence[float]) -> float:
    return longest_chain_s(
        (step.step_id, step.depends_on, took)
        for step, took in zip(steps, seconds, strict=True)
    )
