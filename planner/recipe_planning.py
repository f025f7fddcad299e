"""From a goal to a plan without a model: match recipes, find input, fill, compile."""

from __future__ import annotations

import re
from collections.abc import Sequence

from arms.contract import ArmSpec
from octollm.errors import MissingInputError, NeedsModelError
from octollm.types import JSONObject, JSONValue
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.matching import match_goal
from planner.plan import Plan, PlanningContract, reference
from planner.recipe import Option, Recipe, RecipeStep, all_recipes, fill
from planner.sources import Source, find_source, support
from planner.words import root, root_set, roots, words

_NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_NUMBERS |= {"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
NEAREST = 3


def plan_by_recipe(
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    *,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of the recipes that fit the goal.

    Args:
        contract: what is asked for.
        catalogue: the arms there are.
        notes: what to record with the plan, such as why no model made it.

    Raises:
        NeedsModelError: no recipe fits, or part of the goal only a model can do.
        MissingInputError: a recipe fits and there is nothing to work on.
        InvalidPlanError: the recipe's plan breaks a limit of the contract.
    """
    match = match_goal(
        contract.goal,
        all_recipes(),
        support=lambda recipe: support(recipe.needs, contract),
    )
    if not match.recipes:
        raise NeedsModelError(_needs_model(match.nearest, match.open_part))
    draft = _draft(match.recipes, contract, notes)
    return compile_plan(draft, contract=contract, catalogue=catalogue, source="recipe")


def _needs_model(nearest: Sequence[Recipe], open_part: str) -> str:
    titles = "; ".join(recipe.title for recipe in nearest[:NEAREST])
    why = (
        f"“{open_part[:80]}” can only be done with a model"
        if open_part
        else "No recipe fits this goal"
    )
    return (
        f"{why}. The nearest recipes are: {titles}. To plan any goal, configure a "
        "model with OCTOLLM_LLM_BASE_URL and OCTOLLM_LLM_MODEL."
    )


def _draft(
    recipes: Sequence[Recipe], contract: PlanningContract, notes: tuple[str, ...]
) -> PlanDraft:
    steps: list[JSONObject] = []
    result: dict[str, JSONValue] = {}
    for recipe in recipes:
        source = find_source(recipe.needs, contract)
        steps += [step for step in source.steps if step not in steps]
        steps += [_step(step, recipe, source, contract) for step in recipe.steps]
        for key, output in recipe.result.items():
            # Of two recipes with a "method" the first keeps the plain name.
            name = f"{recipe.id}_{key}" if key in result else key
            result[name] = reference(f"steps.{output}")
    return PlanDraft.model_validate(
        {
            "steps": steps,
            "result": result,
            "recipe": "+".join(recipe.id for recipe in recipes),
            "notes": notes,
        }
    )


def _step(
    step: RecipeStep, recipe: Recipe, source: Source, contract: PlanningContract
) -> JSONObject:
    given = fill(step.input, source.slots)
    wanted: JSONObject = dict(given) if isinstance(given, dict) else {}
    for name, option in step.options.items():
        value = _option(name, option, contract)
        if value is not None:
            wanted[name] = value
    served: list[JSONValue] = []
    if step is recipe.steps[-1]:
        served += _served(recipe, contract)
    return {
        "step_id": step.id,
        "description": f"{step.description} {source.words}".strip() + ".",
        "arm": step.arm,
        "capability": step.capability,
        "input": wanted,
        "criteria": served,
    }


def _served(recipe: Recipe, contract: PlanningContract) -> list[int]:
    phrases = [" ".join(roots(phrase)) for phrase in recipe.serves]
    return [
        index
        for index, criterion in enumerate(contract.acceptance_criteria)
        if any(phrase in " ".join(roots(criterion)) for phrase in phrases)
    ]


def _option(name: str, option: Option, contract: PlanningContract) -> JSONValue:
    """Return what the request says about an optional input, ``None`` for nothing."""
    for key in option.keys:
        if contract.context.get(key) is not None:
            return reference(f"context.{key}")
    if option.count_of:
        return _counted(contract.goal, option.count_of)
    asked = frozenset(roots(contract.goal))
    chosen: list[JSONValue] = [
        value for value, cues in option.choices.items() if root_set(cues) & asked
    ]
    if chosen:
        return chosen
    if option.is_required:
        raise MissingInputError(
            f"The {name} to work with are missing: put them into context, such as "
            f"{option.shape}."
        )
    return None


def _counted(goal: str, nouns: Sequence[str]) -> int | None:
    """Return 5 for "the 5 most important keywords" and "top five keywords"."""
    either = "|".join(map(re.escape, root_set(nouns)))
    number = "|".join((r"\d{1,3}", *_NUMBERS))
    text = " ".join(each if each in _NUMBERS else root(each) for each in words(goal))
    found = re.search(rf"\b({number}) (?:\S+ ){{0,2}}(?:{either})\b", text)
    if found is None:
        return None
    return _NUMBERS.get(found[1]) or int(found[1]) or None
