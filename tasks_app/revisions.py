"""What another version of a plan starts from, read from a task's rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from arms.registry import catalogue
from octollm.types import JSONObject, JSONValue
from planner import plan as plans
from planner.plan import PlanningContract
from planner.revision import EarlierStep, Revision, shape_of_output
from planner.signatures import Signatures
from tasks_app import planning, rounds
from tasks_app.amounts import to_usd
from tasks_app.models import Plan, Step, Task


def contract_for(task: Task, wanted: JSONObject) -> PlanningContract:
    """Return what the planner may know when it makes the next version.

    Args:
        task: with a plan.
        wanted: the input of the step that plans. What was used when it was asked for
            stands in it, for a resumed step has to ask what it asked before; a cap
            that was raised since counts, and so does another run's own clock.
    """
    used: Any = wanted["used"]
    used_s = used["seconds"] if wanted["run"] == task.run else 0
    return replace(
        planning.contract_of(task),
        max_cost_usd=to_usd(max(0, task.max_cost_nano - used["nano"])),
        max_time_s=float(max(0, task.max_time_seconds - used_s)),
        max_tokens=max(0, task.max_tokens - used["tokens"]),
        revision=_revision_of(task, wanted),
    )


def kept_keys(task: Task, step_ids: Sequence[str]) -> list[UUID]:
    """Return the keys of finished steps, in the order of their ids."""
    if not step_ids:
        return []
    keys = dict(
        Step.objects.filter(task=task, step_id__in=step_ids).values_list(
            "step_id", "pk"
        )
    )
    return [keys[step_id] for step_id in step_ids]


def brings_nothing_new(task: Task, made: plans.Plan) -> bool:
    """Tell whether every new step does what a step of this run did before.

    All earlier versions count, so going back and forth between two is noticed.
    """
    steps = list(
        Step.objects.filter(task=task, kind=Step.Kind.WORK).only(
            *("step_id", "arm", "capability", "description", "input"),
            *("status", "attempt_count"),
        )
    )
    listed = {pk for plan in rounds.plans_of_run(task) for pk in plan.step_ids}
    arms = catalogue()
    before, now = Signatures(steps, arms), Signatures([*steps, *made.steps], arms)
    seen = {
        before.of(step.step_id)
        for step in steps
        if step.pk in listed and (step.attempt_count or step.status == Step.Status.DONE)
    }
    return all(now.of(step.step_id) in seen for step in made.steps)


def _revision_of(task: Task, wanted: JSONObject) -> Revision:
    plan = Plan.objects.get(task=task, version=task.plan_version)
    listed = {
        step.pk: step
        for step in Step.objects.filter(pk__in=plan.step_ids, kind=Step.Kind.WORK)
    }
    taken = Step.objects.filter(task=task).values_list("step_id", flat=True)
    return Revision(
        version=task.plan_version + 1,
        reason=str(wanted["reason"]),
        steps=tuple(_earlier(listed[pk]) for pk in plan.step_ids if pk in listed),
        result=plan.result,
        unmet=_objects(wanted["unmet"]),
        failures=_objects(wanted["failures"]),
        taken=frozenset(taken),
    )


def _earlier(step: Step) -> EarlierStep:
    is_done = step.status == Step.Status.DONE
    return EarlierStep(
        step_id=step.step_id,
        description=step.description,
        arm=step.arm,
        capability=step.capability,
        depends_on=tuple(step.depends_on),
        input=step.input,
        criteria=tuple(step.criteria),
        status=step.status,
        error="" if is_done else str((step.error or {}).get("code", "")),
        output=_shape(step) if is_done else None,
    )


def _shape(step: Step) -> JSONValue:
    offers = [
        offer
        for spec in catalogue()
        if spec.name == step.arm
        for offer in spec.capabilities
        if offer.name == step.capability
    ]
    schema = offers[0].output_schema if offers else {}
    return shape_of_output(step.output, schema)


def _objects(value: JSONValue) -> tuple[JSONObject, ...]:
    members = value if isinstance(value, list) else []
    return tuple(each for each in members if isinstance(each, dict))
