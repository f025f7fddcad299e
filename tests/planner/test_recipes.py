"""Each recipe against the real catalogue: an executable plan, or what is missing."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from arms.knowledge import documents
from arms.registry import catalogue
from octollm.errors import InvalidPlanError, MissingInputError, NeedsModelError
from octollm.types import JSONObject
from planner.plan import Plan, look_up, resolve
from planner.recipe import Recipe, all_recipes
from planner.recipe_planning import plan_by_recipe
from tests.ledgers import make_services
from tests.planner.cases import REVIEWS, make_contract
from tests.planner.running import run_plan

CSV = "region,price\nnorth,3\nsouth,4\n"
RULES = {"delivery": ["late"], "quality": ["broke*"]}


def planned(goal: str, context: Any, **contract: Any) -> Plan:
    return plan_by_recipe(
        make_contract(goal=goal, context=context, **contract), catalogue()
    )


def inputs_of(plan: Plan, goal: str, context: Any) -> Mapping[str, JSONObject]:
    """Resolve the inputs as the pipeline does when each step runs."""
    resolved = {}
    for step in plan.steps:
        value = resolve(step.input, goal=goal, context=context, outputs={})
        assert isinstance(value, dict)
        resolved[step.capability] = value
    return resolved


@pytest.mark.parametrize(
    ("recipe", "goal", "context", "expected"),
    [
        (
            "sentiment",
            "Analyze sentiment of product reviews",
            {"reviews": REVIEWS},
            {"sentiment": {"texts": REVIEWS}},
        ),
        (
            "summarise",
            "Summarize the article in three sentences",
            {"article": "Long. Text."},
            {"summarise": {"texts": "Long. Text.", "sentences": 3}},
        ),
        (
            "keywords",
            "Find the top 5 keywords",
            {"texts": ["a b", "c d"]},
            {"keywords": {"texts": ["a b", "c d"], "limit": 5}},
        ),
        (
            "classify",
            "Classify the comments by rules",
            {"comments": ["It broke."], "rules": RULES},
            {"classify": {"texts": ["It broke."], "rules": RULES}},
        ),
        (
            "describe_table",
            "Describe the table",
            {"table": CSV},
            {"describe_table": {"table": CSV}},
        ),
        (
            "aggregate",
            "how many rows per region",
            {"rows": [{"region": "north"}, {"region": "south"}]},
            {
                "aggregate": {
                    "table": [{"region": "north"}, {"region": "south"}],
                    "question": "how many rows per region",
                }
            },
        ),
        (
            "aggregate",
            "Aggregate the csv",
            {"csv": CSV, "group_by": "region"},
            {
                "aggregate": {
                    "table": CSV,
                    "group_by": "region",
                    "question": "Aggregate the csv",
                }
            },
        ),
        (
            "extract",
            "Extract dates and amounts from the invoices",
            {"documents": ["Due 2026-01-05: 10 EUR"]},
            {
                "extract": {
                    "texts": ["Due 2026-01-05: 10 EUR"],
                    "kinds": ["dates", "money"],
                }
            },
        ),
        (
            "compare",
            "Compare the two versions",
            {"old": "one", "new": "two"},
            {"compare": {"a": "one", "b": "two"}},
        ),
        (
            "sentiment+keywords",
            "Analyze sentiment of the reviews and find the keywords",
            {"reviews": REVIEWS},
            {"sentiment": {"texts": REVIEWS}, "keywords": {"texts": REVIEWS}},
        ),
    ],
)
def test_a_recipe_makes_an_executable_plan(
    recipe: str, goal: str, context: Any, expected: Any
) -> None:
    plan = planned(goal, context)

    assert plan.recipe == recipe
    assert plan.source == "recipe"
    assert inputs_of(plan, goal, context) == expected
    assert plan.total_estimated_time > 0


@pytest.mark.django_db
@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.id)
def test_a_recipes_trial_runs_through_the_real_arms(recipe: Recipe) -> None:
    scope = uuid4()
    for each in recipe.trial.documents:
        documents.ingest(scope, **each.model_dump())
    contract = make_contract(
        goal=recipe.trial.goal, context=recipe.trial.context, knowledge_scope=scope
    )

    plan = plan_by_recipe(contract, catalogue())
    result = run_plan(plan, contract, make_services(knowledge_scope=scope))

    assert plan.recipe == recipe.id
    assert set(result) == set(recipe.result)
    found = {path: look_up(result, path) for path in recipe.trial.result}
    assert found == recipe.trial.result


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.id)
def test_a_recipe_follows_the_catalogue(recipe: Recipe) -> None:
    offers = {
        (spec.name, offer.name): offer
        for spec in catalogue()
        for offer in spec.capabilities
    }
    for step in recipe.steps:
        offer = offers[step.arm, step.capability]
        outputs: Any = offer.output_schema["properties"]
        inputs: Any = offer.input_schema["properties"]
        taken = [each for each in recipe.result.values() if step_id(each) == step.id]

        assert {each.split(".")[1] for each in taken} <= set(outputs)
        assert {*step.input, *step.options} <= set(inputs)


def step_id(output: str) -> str:
    return output.partition(".")[0]


def test_the_page_of_recipes_lists_each_with_all_its_keys() -> None:
    page = (Path(__file__).parents[2] / "docs/recipes.md").read_text()
    rows = [line.split(" | ") for line in page.splitlines() if line.startswith("| ")]
    listed = {row[0].removeprefix("| "): row for row in rows if len(row) == 4}

    for recipe in all_recipes():
        _, example, _, keys = listed.pop(recipe.title)
        assert example == recipe.examples.fits[0]
        assert re.findall(r"`(\w+)`", keys) == list(recipe.result)
    assert set(listed) <= {"what it gives", "---"}


def test_steps_of_all_recipes_have_ids_of_their_own() -> None:
    ids = [step.id for recipe in all_recipes() for step in recipe.steps]

    assert len(ids) == len(set(ids))
    assert 25 <= len(all_recipes()) <= 40


def test_the_results_of_two_recipes_keep_apart() -> None:
    goal = "Analyze sentiment of the reviews and find the keywords"

    plan = planned(goal, {"reviews": REVIEWS})

    assert plan.result["method"] == {"$from": "steps.sentiment.method"}
    assert plan.result["keywords_method"] == {"$from": "steps.keywords.method"}
    assert plan.total_estimated_time < plan.sum_estimated_time


def test_what_a_recipe_changes_is_what_the_next_one_works_on() -> None:
    letters = ["Write to bob@" + "corp.example.", "The parcel is late."]
    goal = "Redact the personal data in the letters and extract the e-mail addresses"
    plan = planned(goal, {"letters": letters})

    result = run_plan(
        plan, make_contract(goal=goal, context={"letters": letters}), make_services()
    )

    by_id = {step.step_id: step for step in plan.steps}
    assert by_id["extract"].input["texts"] == {"$from": "steps.redact.texts"}
    assert by_id["extract"].depends_on == ("redact",)
    assert result["emails"] == []


def test_a_plan_holds_references_and_no_text_of_the_request() -> None:
    plan = planned("Analyze sentiment of reviews", {"reviews": ["only here"]})

    assert "only here" not in repr(plan)


@pytest.mark.parametrize(
    ("context", "path", "said"),
    [
        ({"reviews": ["a"], "notes": ["b" * 99]}, "context.reviews", "goal names it"),
        ({"items": ["a"], "notes": ["b" * 99]}, "context.notes", "the largest"),
        ({"data": {"reviews": ["a"]}}, "context.data.reviews", "one text"),
        ({"reviews": [{"text": "a"}, {"text": "b"}]}, "context.reviews", "2 texts"),
        ({"blob": "x" * 100, "language": "en"}, "context.blob", "the text"),
        ({"review": "Short."}, "context.review", "the text"),
        ({"stuff": ["a", "b"], "count": 2}, "context.stuff", "2 texts"),
    ],
)
def test_texts_are_found_and_the_choice_is_said(
    context: Any, path: str, said: str
) -> None:
    plan = planned("Analyze sentiment of product reviews", context)

    assert plan.steps[0].input == {"texts": {"$from": path}}
    assert path in plan.steps[0].description
    assert said in plan.steps[0].description


@pytest.mark.parametrize(
    "table",
    [
        CSV,
        "region;price\r\nnorth;3",
        [{"region": "north"}],
        {"columns": ["region"], "rows": [["north"]]},
    ],
    ids=["csv", "semicolons", "objects", "columns and rows"],
)
def test_tables_are_known_in_each_form(table: Any) -> None:
    plan = planned("how many rows per region", {"sales": table, "note": "hi"})

    assert plan.steps[0].input["table"] == {"$from": "context.sales"}


@pytest.mark.parametrize(
    ("context", "paths"),
    [
        ({"a": "x", "b": "y"}, ["context.a", "context.b"]),
        ({"contract": "x", "offer": "y"}, ["context.contract", "context.offer"]),
        ({"versions": ["x", "y"]}, ["context.versions.0", "context.versions.1"]),
    ],
)
def test_a_pair_is_found(context: Any, paths: list[str]) -> None:
    plan = planned("Compare the two versions", context)

    given = plan.steps[0].input
    assert [given["a"], given["b"]] == [{"$from": path} for path in paths]


@pytest.mark.parametrize(
    ("goal", "context", "named"),
    [
        ("Analyze sentiment of product reviews", {}, '{"reviews": ["…", "…"]}'),
        ("Analyze sentiment of product reviews", {"reviews": []}, "POST /documents"),
        ("Analyze sentiment of product reviews", {"reviews": ["", " "]}, "no texts"),
        ("Analyze sentiment of product reviews", {"reviews": 5}, "no texts"),
        ("how many rows per region", {"table": "no table"}, "no table"),
        ("Compare the two texts", {"a": "only one"}, '"b"'),
        ("Search the documents for refunds", {}, "POST /documents"),
        ("Classify the tickets by rules", {"tickets": ["a"]}, '"rules"'),
    ],
)
def test_without_input_the_caller_is_told_what_to_supply(
    goal: str, context: Any, named: str
) -> None:
    with pytest.raises(MissingInputError) as caught:
        planned(goal, context)

    assert named in caught.value.message


def test_an_open_ended_goal_names_the_nearest_recipes_and_the_settings() -> None:
    with pytest.raises(NeedsModelError) as caught:
        planned("Write a novel about keywords", {})

    assert "“Write a novel about keywords” can only be done" in caught.value.message
    assert "Keywords and topics of texts" in caught.value.message
    assert "OCTOLLM_LLM_BASE_URL" in caught.value.message


def test_a_recipe_serves_the_criteria_it_knows() -> None:
    criteria = ("Sentiment score -1 to 1", "No PII in output", "Polite tone")

    plan = planned(
        "Analyze sentiment of product reviews",
        {"reviews": REVIEWS},
        acceptance_criteria=criteria,
    )

    assert plan.steps[0].criteria == (0, 1)
    assert [index for index, _ in plan.unserved] == [2]


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        ({"max_time_s": 0.5}, "P020"),
        ({"assigned_arm": "retriever"}, "P018"),
        ({"constraints": ("Use at most 0 steps",)}, "P017"),
    ],
)
def test_a_recipe_passes_the_compiler_like_any_plan(
    limits: dict[str, Any], rule: str
) -> None:
    with pytest.raises(InvalidPlanError) as caught:
        planned("Analyze sentiment of reviews", {"reviews": REVIEWS}, **limits)

    assert caught.value.violations[0].startswith(rule)


def test_a_recipe_costs_nothing_by_the_catalogue() -> None:
    plan = planned("Analyze sentiment of reviews", {"reviews": REVIEWS})

    assert plan.total_estimated_cost == Decimal(0)
