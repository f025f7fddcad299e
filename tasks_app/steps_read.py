"""What a stage reads of a task's steps; nothing here writes."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.plan import reference_path, references, resolve, step_of
from reflex.fingerprints import fingerprint
from tasks_app.models import Plan, Step, Task
from tasks_app.results import StepOutcome

_NEEDED = """
SELECT step_id, output::text, taint FROM steps
WHERE task_id = %s AND step_id = ANY(%s) AND status = 'done'
"""
OPEN = (Step.Status.WAITING, Step.Status.READY, Step.Status.RUNNING)


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A result before it is judged: the plan's keys, and how each step ended.

    ``sources`` are the ids of steps whose outputs fill those keys.
    """

    values: Mapping[str, JSONValue]
    steps: tuple[StepOutcome, ...]
    sources: frozenset[str] = frozenset()

    @property
    def is_whole(self) -> bool:
        """Whether every work step is done."""
        return bool(self.steps) and all(s.output is not None for s in self.steps)

    @property
    def judged_values(self) -> dict[str, JSONValue]:
        """What criteria are about: the plan's keys, and how sure the steps are."""
        known = [s.confidence for s in self.steps if s.confidence is not None]
        sure: dict[str, JSONValue] = {"confidence": min(known)} if known else {}
        return sure | dict(self.values)

    @property
    def first_error(self) -> JSONObject | None:
        """Why the first step that failed did."""
        return next((s.error for s in self.steps if s.error), None)


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What a step takes from those before it: outputs by step id, and their marks."""

    outputs: Mapping[str, JSONObject]
    taint: frozenset[str]


def reads_request(step: Step) -> bool:
    """Tell whether a step reads any words of the request, and not only other steps'.

    Words that stand in its input were put there by a plan that was made of the request.
    """
    if any(step_of(path) is None for path in references(step.input)):
        return True
    return any(_words_in(step.input))


def _words_in(value: JSONValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict) and reference_path(value) is None:
        for member in value.values():
            yield from _words_in(member)
    elif isinstance(value, list):
        for member in value:
            yield from _words_in(member)


def needs_of(step: Step) -> Needs:
    """Return the outputs that a step refers to, and the marks that come with them."""
    referred = {step_of(path) for path in references(step.input)}
    needed = {step_id for step_id in (*step.depends_on, *referred) if step_id}
    if not needed:
        return Needs(outputs={}, taint=frozenset())
    with connection.cursor() as cursor:
        cursor.execute(_NEEDED, [step.task_id, sorted(needed)])
        rows = cursor.fetchall()
    return Needs(
        outputs={step_id: json.loads(output) for step_id, output, _ in rows},
        taint=frozenset(mark for _, _, marks in rows for mark in marks),
    )


def is_anything_left(task_id: UUID) -> bool:
    """Whether a work step is open still, or done and so worth judging."""
    return Step.objects.filter(
        task_id=task_id, kind=Step.Kind.WORK, status__in=(*OPEN, Step.Status.DONE)
    ).exists()


def plan_digest(task_id: UUID, version: int) -> str:
    """Return what tells a plan version from any other: its steps, inputs and grants.

    Made from the rows as they are stored, so that whoever changes one changes it.
    """
    plan = Plan.objects.get(task_id=task_id, version=version)
    rows = Step.objects.in_bulk(plan.step_ids)
    steps: list[JSONValue] = [_essence(rows[pk]) for pk in plan.step_ids if pk in rows]
    return fingerprint([steps, plan.result, plan.grants], purpose="approval")


def _essence(step: Step) -> list[JSONValue]:
    names = [step.step_id, step.kind, step.arm, step.capability, step.description]
    return [*names, [*step.depends_on], step.input, [*step.criteria]]


def draft_result(task: Task, *, version: int | None = None) -> Draft:
    """Put together what the steps of a plan left, whole or not.

    Of the current one unless an earlier ``version`` is named.
    """
    wanted = task.plan_version if version is None else version
    plan = Plan.objects.filter(task_id=task.pk, version=wanted).first()
    if plan is None:
        return Draft(values={}, steps=())
    rows = {
        step.pk: step
        for step in Step.objects.filter(task_id=task.pk, kind=Step.Kind.WORK).only(
            "step_id",
            "status",
            "output",
            "confidence",
            "confidence_reason",
            "error",
        )
    }
    steps = tuple(_outcome(rows[pk]) for pk in plan.step_ids if pk in rows)
    outputs = {s.step_id: s.output for s in steps if s.output is not None}
    values = {
        key: value
        for key, reference in plan.result.items()
        for value in _resolved(reference, task, outputs)
    }
    sources = {step_of(path) for path in references(plan.result)}
    return Draft(values=values, steps=steps, sources=frozenset(filter(None, sources)))


def _outcome(step: Step) -> StepOutcome:
    # What a later version does without keeps the output that the earlier one had.
    has_output = step.status in (Step.Status.DONE, Step.Status.SUPERSEDED)
    return StepOutcome(
        step_id=step.step_id,
        status=step.status,
        output=step.output if has_output else None,
        confidence=step.confidence,
        confidence_reason=step.confidence_reason,
        error=step.error,
    )


def _resolved(
    reference: JSONValue, task: Task, outputs: Mapping[str, JSONObject]
) -> list[JSONValue]:
    """Return the value in a list, or nothing in one: a partial result lacks keys."""
    try:
        return [
            resolve(reference, goal=task.goal, context=task.context, outputs=outputs)
        ]
    except MissingInputError:
        return []
