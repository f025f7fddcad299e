"""An owner's earlier plan, made again for the same goal when no recipe fits.

It is a draft like any other: compiled against the present request, so that what it
refers to in the context has to be there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from octollm.types import JSONObject, JSONValue
from planner.alike import exact_form, nearness
from planner.calibration import calibration
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.memory import RememberedPlan, remembered_plans
from planner.plan import Plan, PlanningContract, reference_path
from planner.words import NUMBERS, words
from reflex.placeholders import has_placeholder

NOTE = "An earlier plan of yours for the same goal was used again."


@dataclass(frozen=True, kw_only=True)
class Recalled:
    """What an owner's earlier goals have to offer.

    Attributes:
        plan: for the same goal, compiled; nothing if there is none that fits.
        near_count: how many earlier goals are near this one.
    """

    plan: Plan | None
    near_count: int


def recall(
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    *,
    notes: tuple[str, ...] = (),
) -> Recalled:
    """Return the latest earlier plan for the same goal that is valid now."""
    near = nearest(contract)
    plan = None
    for score, earlier in near:
        if score >= calibration().memory and is_same(earlier, contract, catalogue):
            plan = _compiled(earlier, contract, catalogue, notes)
        if plan is not None:
            break
    return Recalled(plan=plan, near_count=len(near))


def nearest(contract: PlanningContract) -> list[tuple[float, RememberedPlan]]:
    """Return the owner's earlier plans whose goals are near, the nearest first."""
    earlier = [
        each
        for each in remembered_plans(contract.knowledge_scope)
        if not _has_placeholder(each)
    ]
    scores = nearness(contract.goal, [each.goal for each in earlier])
    near = [
        pair
        for pair in zip(scores, earlier, strict=True)
        if pair[0] >= calibration().examples
    ]
    return sorted(near, key=lambda pair: -pair[0])


def is_same(
    earlier: RememberedPlan, contract: PlanningContract, catalogue: Sequence[ArmSpec]
) -> bool:
    """Tell whether a plan may serve the request as it stands.

    The goals have to be the same word by word, and whatever the plan writes out has
    to stand in the goal: a value from another task's context would not.
    """
    is_same_goal = exact_form(earlier.goal) == exact_form(contract.goal)
    return is_same_goal and follows_from(contract.goal, earlier, catalogue)


def follows_from(
    goal: str, earlier: RememberedPlan, catalogue: Sequence[ArmSpec]
) -> bool:
    """Tell whether all that a plan's inputs write out is a goal's word or a choice."""
    said = frozenset(words(goal))
    said |= {str(NUMBERS[word]) for word in said & NUMBERS.keys()}
    return all(
        said.issuperset(words(str(literal))) or _is_choice(literal, catalogue)
        for literal in _literals([step["input"] for step in _steps(earlier)])
    )


def _compiled(
    earlier: RememberedPlan,
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    notes: tuple[str, ...],
) -> Plan | None:
    # Which criteria a step serves is asked anew: these may be others.
    steps: list[JSONValue] = [step | {"criteria": []} for step in _steps(earlier)]
    try:
        draft = PlanDraft.model_validate(
            {
                "steps": steps,
                "result": earlier.plan.get("result", {}),
                "model": earlier.plan.get("model"),
                "prompt_version": earlier.plan.get("prompt_version"),
                "notes": (*notes, NOTE),
            }
        )
        return compile_plan(
            draft, contract=contract, catalogue=catalogue, source="memory"
        )
    except (ValidationError, InvalidPlanError):
        return None


def _steps(earlier: RememberedPlan) -> list[JSONObject]:
    steps = earlier.plan.get("steps")
    listed = steps if isinstance(steps, list) else []
    return [{"input": {}} | step for step in listed if isinstance(step, dict)]


def _has_placeholder(earlier: RememberedPlan) -> bool:
    """Tell whether it holds values that its task's vault alone can read."""
    return has_placeholder(earlier.goal + json.dumps(earlier.plan))


def _is_choice(literal: JSONValue, catalogue: Sequence[ArmSpec]) -> bool:
    """Tell whether it is one of the values that a capability lets choose from."""
    return isinstance(literal, bool) or any(
        literal in choices
        for spec in catalogue
        for offer in spec.capabilities
        for choices in _choices(dict(offer.input_schema))
    )


def _choices(schema: JSONValue) -> Iterator[list[JSONValue]]:
    if isinstance(schema, dict):
        for key, member in schema.items():
            if key == "enum" and isinstance(member, list):
                yield member
            yield from _choices(member)
    elif isinstance(schema, list):
        for member in schema:
            yield from _choices(member)


def _literals(value: JSONValue) -> Iterator[JSONValue]:
    if reference_path(value) is not None:
        return
    if isinstance(value, dict):
        for member in value.values():
            yield from _literals(member)
    elif isinstance(value, list):
        for member in value:
            yield from _literals(member)
    elif value is not None:
        yield value
