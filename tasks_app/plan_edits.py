"""What an edited plan keeps of the version before it, and what it brings."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from planner.candidate import renamed_step, rewrite_object
from planner.plan import Plan, PlannedStep
from tasks_app import planning
from tasks_app.amounts import Amount
from tasks_app.models import Plan as PlanRow
from tasks_app.models import Step
from tasks_app.turn import Turn

REASON = "edited"
MAX_ID = 64
# Steps of these may stay: finished ones never run again, the others have yet to.
_KEPT = (Step.Status.DONE, Step.Status.WAITING)


@dataclass(frozen=True, kw_only=True)
class Edit:
    """A new plan version.

    Attributes:
        row: the version.
        steps: its new steps with their envelopes, the judge last.
        kept: those of the version before that stay as they are.
    """

    row: PlanRow
    steps: list[Step]
    kept: list[Step]

    @property
    def to_run(self) -> list[Step]:
        """The steps that have yet to run."""
        return [*self.steps, *(s for s in self.kept if s.status != Step.Status.DONE)]


def edit_of(turn: Turn, made: Plan, *, judging: Amount) -> Edit:
    """Return the version that an edited plan makes, against what the task has now.

    A step that is word for word what it was stays the same row. Ids belong to the
    task for good: a step that was changed gets one of its own, such as ``2-v3``.
    """
    task = turn.task
    current = PlanRow.objects.get(task_id=task.pk, version=task.plan_version)
    rows = list(Step.objects.filter(task_id=task.pk))
    old = [row for row in rows if row.pk in current.step_ids]
    ids = _Ids({row.step_id for row in rows}, version=task.plan_version + 1)
    kept = list(_unchanged(made, old))
    new = _renamed(made, kept, ids)
    given_up = [row for row in old if row not in kept]
    free = Amount(
        nano=task.free_nano + sum(row.envelope_nano for row in given_up),
        tokens=task.free_tokens + sum(row.envelope_tokens for row in given_up),
    )
    row, steps = planning.rows_of(new, judging=judging, free=free)
    row.reason = REASON
    judge = steps[-1]
    judge.step_id = ids.free(judge.step_id)
    judge.depends_on = [step.step_id for step in (*kept, *steps[:-1])]
    return Edit(row=row, steps=steps, kept=kept)


class _Ids:
    """Hands out ids that no step of the task has or had."""

    def __init__(self, taken: Collection[str], *, version: int) -> None:
        self._taken = set(taken)
        self._version = version

    def free(self, wanted: str) -> str:
        """Return the id itself, or with the version's number behind it."""
        tries = (f"{wanted[: MAX_ID - len(end)]}{end}" for end in self._endings())
        step_id = next(each for each in tries if each not in self._taken)
        self._taken.add(step_id)
        return step_id

    def _endings(self) -> Iterator[str]:
        yield from ("", f"-v{self._version}")
        for number in itertools.count(2):
            yield f"-v{self._version}-{number}"


def _unchanged(made: Plan, rows: Sequence[Step]) -> Iterator[Step]:
    """Yield the rows that a plan has word for word, with all they depend on."""
    by_id = {row.step_id: row for row in rows if row.status in _KEPT}
    same: set[str] = set()
    for step in made.steps:
        row = by_id.get(step.step_id)
        if row and _is_same(row, step) and same.issuperset(step.depends_on):
            same.add(step.step_id)
            yield row


def _is_same(row: Step, step: PlannedStep) -> bool:
    return (
        (row.arm, row.capability) == (step.arm, step.capability)
        and row.description == step.description
        and set(row.depends_on) == set(step.depends_on)
        and row.input == step.input
        and row.criteria == list(step.criteria)
    )


def _renamed(made: Plan, kept: Sequence[Step], ids: _Ids) -> Plan:
    """Return the plan with its new steps alone, under free ids; references follow."""
    stay = {row.step_id for row in kept}
    new = [step for step in made.steps if step.step_id not in stay]
    names = {step.step_id: ids.free(step.step_id) for step in new}

    def change(path: str) -> str:
        return renamed_step(path, names)

    steps = tuple(
        replace(
            step,
            step_id=names[step.step_id],
            depends_on=tuple(names.get(parent, parent) for parent in step.depends_on),
            input=rewrite_object(step.input, change),
        )
        for step in new
    )
    return replace(made, steps=steps, result=rewrite_object(dict(made.result), change))
