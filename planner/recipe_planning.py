"""From a goal to a plan without a model: match recipes, find input, fill, compile."""

from __future__ import annotations

import re
from collections.abc import Sequence

from arms.contract import ArmSpec
from octollm.errors import MissingInputError, NeedsModelError
from octollm.types import JSONObject, JSONValue
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.goal_texts import GoalTexts, texts_in
from planner.matching import Match, match_goal
from planner.plan import Plan, PlanningContract, reference
from planner.recall import recall
from planner.recipe import Need, Option, Recipe, RecipeStep, fill
from planner.sources import Source, find_source, given
from planner.words import NUMBERS, root, root_set, roots, words

NEAREST = 3


def plan_by_recipe(
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    *,
    notes: tuple[str, ...] = (),
) -> Plan:
    """Return the plan of the recipes that fit the goal, else an earlier plan for it.

    Args:
        contract: what is asked for.
        catalogue: the arms there are.
        notes: what to record with the plan, such as why no model made it.

    Raises:
        NeedsModelError: no recipe fits, or part of the goal only a model can do.
        MissingInputError: a recipe fits and there is nothing to work on.
        InvalidPlanError: the recipe's plan breaks a limit of the contract.
    """
    match, brought = _matched(contract)
    if match.recipes:
        return compile_plan(
            _draft(match.recipes, contract, brought, notes),
            contract=contract,
            catalogue=catalogue,
            source="recipe",
        )
    earlier = recall(contract, catalogue, notes=notes)
    if earlier.plan is None:
        raise NeedsModelError(_needs_model(match, earlier.near_count))
    return earlier.plan


def _matched(contract: PlanningContract) -> tuple[Match, GoalTexts | None]:
    """Return what fits, and the goal's texts if they are to be worked on."""
    brought = texts_in(contract.goal)
    there = given(contract)
    # A few words behind a colon are part of the order when there is other input.
    if brought.texts and (brought.is_block or not there.needs):
        match = match_goal(brought.instruction, given=given(contract, brought=brought))
        if match.recipes:
            return match, brought
    return match_goal(contract.goal, given=there), None


def _needs_model(match: Match, near_count: int) -> str:
    titles = "; ".join(recipe.title for recipe in match.nearest[:NEAREST])
    why = (
        f"“{match.open_part[:80]}” can only be done with a model"
        if match.open_part
        else "No recipe fits this goal"
    )
    earlier = (
        f" {near_count} of your earlier goals are near it, none of them the same."
        if near_count
        else ""
    )
    return (
        f"{why}. The nearest recipes are: {titles}.{earlier} To plan any goal, "
        "configure a model with OCTOLLM_LLM_BASE_URL and OCTOLLM_LLM_MODEL."
    )


def _draft(
    recipes: Sequence[Recipe],
    contract: PlanningContract,
    brought: GoalTexts | None,
    notes: tuple[str, ...],
) -> PlanDraft:
    steps: list[JSONObject] = []
    result: dict[str, JSONValue] = {}
    passed_on: dict[Need, Source] = {}
    for recipe in recipes:
        source = passed_on.get(recipe.needs) or find_source(
            recipe.needs, contract, brought=brought
        )
        passed_on |= _passed_on(recipe)
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


def _passed_on(recipe: Recipe) -> dict[Need, Source]:
    """Return what later recipes work on: "redact the letters and summarise them"."""
    if not recipe.gives:
        return {}
    need: Need = "table" if recipe.gives == "table" else "texts"
    output = recipe.result[recipe.gives]
    source = Source(
        slots={need: reference(f"steps.{output}")},
        words=f"of what step “{output.partition('.')[0]}” gives",
    )
    return {need: source}


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
    goal = texts_in(contract.goal).instruction
    if option.count_of or option.count_after:
        return _counted(goal, option)
    asked = frozenset(roots(goal))
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


def _counted(goal: str, option: Option) -> int | None:
    """Return 5 for "the 5 most important keywords" and "batches of five"."""
    number = "|".join((r"\d{1,3}", *NUMBERS))
    nouns = "|".join(map(re.escape, root_set(option.count_of))) or r"(?!)"
    heads = "|".join(" ".join(roots(each)) for each in option.count_after) or r"(?!)"
    text = " ".join(each if each in NUMBERS else root(each) for each in words(goal))
    found = re.search(
        rf"\b(?:({number}) (?:\S+ ){{0,2}}(?:{nouns})|(?:{heads}) ({number}))\b", text
    )
    if found is None:
        return None
    said = found[1] or found[2]
    return NUMBERS.get(said) or int(said) or None
