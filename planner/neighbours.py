"""What a model is shown of recipes and earlier plans that are near its goal.

Examples of the form, not answers: a model may take them or leave them, and whatever it
makes passes the compiler. When nothing is near, nothing is shown.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from arms.contract import ArmSpec
from octollm.types import JSONObject, JSONValue
from planner.matching import near_recipes
from planner.memory import RememberedPlan
from planner.plan import PlanningContract, reference, reference_path
from planner.recall import follows_from, nearest
from planner.recipe import Recipe, fill

MAX_EXAMPLES = 2
MAX_EXAMPLES_LENGTH = 1_500


def examples_for(
    contract: PlanningContract, catalogue: Sequence[ArmSpec]
) -> tuple[str, ...]:
    """Return at most two goals with their plans as JSON, earlier plans first.

    Together they are at most ``MAX_EXAMPLES_LENGTH`` characters long, and they use
    only what is offered.

    Args:
        contract: what is wanted.
        catalogue: the arms that are offered to the model.
    """
    offered = {
        (spec.name, offer.name): offer.description
        for spec in catalogue
        for offer in spec.capabilities
    }
    found: list[str] = []
    for goal, steps in _candidates(contract, catalogue):
        for step in steps:
            # Its own words may quote the context of an earlier task.
            step["description"] = offered.get((step["arm"], step["capability"]), "")
        uses = {(str(step["arm"]), str(step["capability"])) for step in steps}
        text = json.dumps(
            {"goal": goal, "answer": {"steps": steps}}, ensure_ascii=False
        )
        room = MAX_EXAMPLES_LENGTH - sum(map(len, found))
        if uses <= offered.keys() and len(text) <= room:
            found.append(text)
        if len(found) == MAX_EXAMPLES:
            break
    return tuple(found)


def _candidates(
    contract: PlanningContract, catalogue: Sequence[ArmSpec]
) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    for _, earlier in nearest(contract):
        if follows_from(earlier.goal, earlier, catalogue):
            yield earlier.goal, _steps_of_plan(earlier)
    for recipe in near_recipes(contract.goal):
        yield recipe.examples.fits[0], _steps_of_recipe(recipe)


def _steps_of_plan(earlier: RememberedPlan) -> list[dict[str, Any]]:
    steps: Any = earlier.plan.get("steps") or []
    return [
        _step(
            step["step_id"],
            (step["arm"], step["capability"]),
            depends_on=step["depends_on"],
            given=step["input"],
        )
        for step in steps
    ]


def _steps_of_recipe(recipe: Recipe) -> list[dict[str, Any]]:
    ids = [step.id for step in recipe.steps]
    return [
        _step(
            step.id,
            (step.arm, step.capability),
            depends_on=[each for each in ids if f"steps.{each}." in str(step.input)],
            given=fill(step.input, _Slots()),
        )
        for step in recipe.steps
    ]


class _Slots(dict[str, JSONValue]):
    """Every slot, filled as if the context held it under the slot's name."""

    def __missing__(self, slot: str) -> JSONValue:
        return reference("goal" if slot == "query" else f"context.{slot}")


def _step(
    step_id: str,
    does: tuple[str, str],
    *,
    depends_on: list[str],
    given: JSONValue,
) -> dict[str, Any]:
    """Return a step in the form of the answer; what it says comes later."""
    arm, capability = does
    inputs: list[JSONValue] = [
        _input(name, value)
        for name, value in (given if isinstance(given, dict) else {}).items()
    ]
    return {
        "step_id": step_id,
        "description": "",
        "arm": arm,
        "capability": capability,
        "depends_on": list[JSONValue](depends_on),
        "inputs": inputs,
        "criteria": [],
    }


def _input(name: str, value: JSONValue) -> JSONObject:
    path = reference_path(value)
    written = "" if path else json.dumps(value, ensure_ascii=False)
    return {"name": name, "from": path or "", "value": written}
