"""How the versions of a plan differ; computed, since a plan holds all it needs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from octollm.types import JSONObject
from tasks_app.models import Plan, Step


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Ids of work steps: what a version has of the one before, adds, and leaves out."""

    kept: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    superseded: tuple[str, ...] = ()

    def to_json(self) -> JSONObject:
        """Return the three lists."""
        return {
            "kept": list(self.kept),
            "new": list(self.new),
            "superseded": list(self.superseded),
        }


def differences(
    plans: Sequence[Plan], steps: Iterable[Step]
) -> Mapping[int, Difference]:
    """Return how each version differs from the one before it, by its number.

    Args:
        plans: all versions of one task, in order.
        steps: all steps of that task.
    """
    names = {step.pk: step.step_id for step in steps if step.kind == Step.Kind.WORK}
    found: dict[int, Difference] = {}
    before: tuple[UUID, ...] = ()
    for plan in plans:
        now = tuple(pk for pk in plan.step_ids if pk in names)
        found[plan.version] = Difference(
            kept=tuple(names[pk] for pk in now if pk in before),
            new=tuple(names[pk] for pk in now if pk not in before),
            superseded=tuple(names[pk] for pk in before if pk not in now),
        )
        before = now
    return found
