"""Each recipe against the real catalogue: an executable plan, or what is missing."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import pytest

from arms.services.analyst.capabilities import SPEC as ANALYST
from arms.services.judge.capabilities import SPEC as JUDGE
from arms.services.retriever.capabilities import SPEC as RETRIEVER
from octollm.errors import InvalidPlanError, MissingInputError, NeedsModelError
from octollm.types import JSONObject
from planner.capabilities import SPEC as PLANNER
from planner.plan import Plan, resolve
from planner.recipe import all_recipes
from planner.recipe_planning import plan_by_recipe
from tests.ledgers import make_services
from tests.planner.cases import REVIEWS, make_contract
from tests.planner.running import run_plan

CATALOGUE = (ANALYST, JUDGE, PLANNER, RETRIEVER)
CSV = "region,price\nnorth,3\nsouth,4\n"
RULES = {"delivery": ["late"], "quality": ["broke*"]}


def planned(goal: str, context: Any, **contract: Any) -> Plan:
    return plan_by_recipe(
        make_contract(goal=goal, context=context, **contract), CATALOGUE
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


@pytest.mark.parametrize(
    ("goal", "context", "key", "expected"),
    [
        ("Analyze sentiment of reviews", {"reviews": REVIEWS}, "count", 3),
        ("Summarize the text", {"text": "One thing. Two things."}, "coverage", ...),
        ("Find the keywords", {"texts": ["battery life", "battery"]}, "keywords", ...),
        (
            "Classify the comments by rules",
            {"comments": ["It broke.", "Late again."], "rules": RULES},
            "labels",
            {"delivery": 1, "quality": 1},
        ),
        ("Describe the table", {"table": CSV}, "row_count", 2),
        ("how many rows per region", {"table": CSV}, "row_count", 2),
        ("Extract dates from the text", {"text": "Due 2026-01-05."}, "count", 1),
        ("Compare the two texts", {"a": "one two", "b": "one two"}, "similarity", 1),
    ],
)
def test_a_recipes_plan_runs_through_the_real_arms(
    goal: str, context: Any, key: str, expected: Any
) -> None:
    contract = make_contract(goal=goal, context=context)
    plan = plan_by_recipe(contract, CATALOGUE)

    result = run_plan(plan, contract, make_services())

    assert set(result) == set(plan.result)
    assert result[key] == expected if expected is not ... else result[key]


@pytest.mark.parametrize("recipe", all_recipes(), ids=lambda recipe: recipe.id)
def test_every_result_of_a_recipe_is_an_output_of_its_arm(recipe: Any) -> None:
    specs = {spec.name: spec for spec in CATALOGUE}
    outputs = set()
    for step in recipe.steps:
        offer = specs[step.arm].capability(step.capability)
        assert offer is not None
        properties: Any = offer.output_schema["properties"]
        outputs |= {f"{step.id}.{key}" for key in properties}

    assert set(recipe.result.values()) <= outputs


def test_the_results_of_two_recipes_keep_apart() -> None:
    goal = "Analyze sentiment of the reviews and find the keywords"

    plan = planned(goal, {"reviews": REVIEWS})

    assert plan.result["method"] == {"$from": "steps.sentiment.method"}
    assert plan.result["keywords_method"] == {"$from": "steps.keywords.method"}
    assert plan.total_estimated_time < plan.sum_estimated_time


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
