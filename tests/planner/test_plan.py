"""Plans as values: references and the stored form."""

from __future__ import annotations

import json
from typing import Any

import pytest

from octollm.errors import MissingInputError
from planner.compiler import compile_plan
from planner.plan import from_json, references, resolve, step_of, to_json
from tests.planner.cases import CATALOGUE, chain, make_contract, make_draft

CONTEXT: Any = {
    "reviews": ["good", "bad"],
    "by.region": {"north": 3},
    "nested": {"list": [{"text": "deep"}]},
}
OUTPUTS: Any = {"1": {"texts": ["one"], "count": 1}}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("goal", "Count them"),
        ("context", CONTEXT),
        ("context.reviews", ["good", "bad"]),
        ("context.reviews.1", "bad"),
        ("context.by.region.north", 3),
        ("context.nested.list.0.text", "deep"),
        ("steps.1.count", 1),
        ("steps.1", {"texts": ["one"], "count": 1}),
    ],
)
def test_a_reference_becomes_what_it_refers_to(path: str, expected: Any) -> None:
    value: Any = {"inside": [{"$from": path}, "literal"]}

    found = resolve(value, goal="Count them", context=CONTEXT, outputs=OUTPUTS)

    assert found == {"inside": [expected, "literal"]}


@pytest.mark.parametrize(
    "path",
    [
        "context.absent",
        "context.reviews.2",
        "context.reviews.-1",
        "context.reviews.first",
        "context.reviews." + "9" * 5000,
        "steps.2.count",
        "steps.1.summary",
        "goal.length",
        "elsewhere",
        "",
    ],
)
def test_a_reference_that_leads_nowhere_is_named(path: str) -> None:
    with pytest.raises(MissingInputError, match="leads nowhere"):
        resolve({"$from": path}, goal="Go", context=CONTEXT, outputs=OUTPUTS)


def test_text_that_was_put_in_is_not_resolved_again() -> None:
    context: Any = {"trap": {"$from": "context.secret"}, "secret": "s"}

    found = resolve({"$from": "context.trap"}, goal="Go", context=context, outputs={})

    assert found == {"$from": "context.secret"}


def test_references_are_listed_once_in_order() -> None:
    value: Any = {
        "a": {"$from": "context.b"},
        "c": [{"$from": "steps.1.x"}, {"$from": "context.b"}, {"$from": 3}],
    }

    assert references(value) == ("context.b", "steps.1.x")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("steps.2.count", "2"),
        ("steps.2", "2"),
        ("context.steps.2", None),
        ("goal", None),
    ],
)
def test_the_step_of_a_path(path: str, expected: str | None) -> None:
    assert step_of(path) == expected


def test_a_stored_plan_comes_back_the_same() -> None:
    plan = compile_plan(
        make_draft(*chain(), model="m", prompt_version="p1", notes=["A note."]),
        contract=make_contract(acceptance_criteria=("Sentiment score -1 to 1", "Nice")),
        catalogue=CATALOGUE,
        source="model",
    )

    stored = json.loads(json.dumps(to_json(plan)))

    assert from_json(stored) == plan
    assert stored["total_estimated_cost"] == "0.10"
