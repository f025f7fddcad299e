"""Asking for another plan version: what the planner is told, and nothing more.

A planner that reads what steps produced could be told by a document or a model which
arm to use. So it is told where to look in numbers and codes: which criteria, which
verdicts, which steps, which errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from octollm.types import JSONObject, JSONValue
from tasks_app.models import Step
from tasks_app.turn import Turn

# How the judge says that it found something out. What else stands there is a text.
METHODS = (
    *("range", "count", "text search", "RE2 pattern", "equality", "presence"),
    *("JSON parser", "reflex rules", "model"),
)
_CODE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_STEP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def ask_for_new_plan(
    turn: Turn,
    *,
    reason: str,
    unmet: Sequence[JSONObject] = (),
    failures: Sequence[JSONObject] = (),
) -> None:
    """Add a step that makes the next plan version; the caller advances.

    Its input says what that version is to mend. Whatever is no number or code of ours
    is left out, so a caller can hand over what it has.

    Args:
        turn: the task's.
        reason: a code, such as ``criteria_not_met`` or ``retry``.
        unmet: per criterion ``criterion`` (its index), ``kind``, ``verdict``,
            ``method`` and ``score``.
        failures: per step that will not be done ``step_id`` and ``error`` (a code).
    """
    version = turn.task.plan_version + 1
    wanted: JSONObject = {
        "reason": reason,
        "unmet": [dict(_plain(item)) for item in unmet],
        "failures": [dict(_plain(item)) for item in failures],
    }
    turn.add_steps(
        [
            Step(
                step_id=free_id(turn, f"plan-{version}"),
                kind=Step.Kind.PLAN,
                description=f"Make version {version} of the plan",
                arm="planner",
                capability="planning",
                input=wanted,
            )
        ]
    )
    turn.set(replan_count=turn.task.replan_count + 1)


def free_id(turn: Turn, wanted: str) -> str:
    """Return the id, numbered on when the task has a step of that name already."""
    taken = set(
        Step.objects.filter(
            task_id=turn.task.pk, step_id__startswith=wanted
        ).values_list("step_id", flat=True)
    )
    step_id, count = wanted, 1
    while step_id in taken:
        count += 1
        step_id = f"{wanted}-{count}"
    return step_id


def _plain(item: Mapping[str, JSONValue]) -> Iterator[tuple[str, JSONValue]]:
    """Yield the members that are numbers and codes."""
    for name in ("criterion", "score"):
        value = item.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield name, value
    for name, code in (
        *(("kind", _CODE), ("verdict", _CODE), ("error", _CODE)),
        ("step_id", _STEP_ID),
    ):
        value = item.get(name)
        if isinstance(value, str) and code.fullmatch(value):
            yield name, value
    method = item.get("method")
    if isinstance(method, str):
        yield "method", _known_method(method)


def _known_method(method: str) -> str:
    return next((known for known in METHODS if method.startswith(known)), "other")
