"""Plans that work on ingested documents."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from arms.knowledge import documents
from arms.registry import catalogue
from octollm.errors import MissingInputError
from planner.plan import Plan
from planner.recipe_planning import plan_by_recipe
from tests.ledgers import make_services
from tests.planner.cases import make_contract
from tests.planner.running import run_plan

pytestmark = pytest.mark.django_db


@pytest.fixture
def scope() -> UUID:
    owner = uuid4()
    for collection, text in (
        ("product_reviews", "Great product, works well."),
        ("product_reviews", "It broke after one day."),
        ("sales_table", "region,price\nnorth,3\nsouth,4"),
    ):
        documents.ingest(owner, collection=collection, title="", text=text)
    return owner


def planned(goal: str, scope: UUID | None, context: Any = None) -> Plan:
    contract = make_contract(goal=goal, context=context or {}, knowledge_scope=scope)
    return plan_by_recipe(contract, catalogue())


def test_texts_are_fetched_when_the_context_has_none(scope: UUID) -> None:
    plan = planned("Analyze sentiment of product reviews", scope)

    fetch, sentiment = plan.steps
    assert (fetch.arm, fetch.capability) == ("retriever", "fetch_documents")
    assert fetch.input == {"goal": {"$from": "goal"}}
    assert sentiment.input == {"texts": {"$from": "steps.documents.texts"}}
    assert sentiment.depends_on == ("documents",)
    assert "2 documents in “product_reviews”" in sentiment.description


@pytest.mark.parametrize(
    ("goal", "key", "expected"),
    [
        ("Analyze sentiment of product reviews", "count", 2),
        ("Describe the sales table", "row_count", 2),
        ("Search the documents for broken products", "count", 2),
    ],
)
def test_a_plan_on_documents_runs_through_the_real_arms(
    scope: UUID, goal: str, key: str, expected: int
) -> None:
    contract = make_contract(goal=goal, context={}, knowledge_scope=scope)
    plan = plan_by_recipe(contract, catalogue())

    result = run_plan(plan, contract, make_services(knowledge_scope=scope))

    assert result[key] == expected


def test_the_context_comes_before_the_documents(scope: UUID) -> None:
    plan = planned("Analyze sentiment of product reviews", scope, {"reviews": ["Ok."]})

    assert [step.capability for step in plan.steps] == ["sentiment"]


def test_a_collection_named_in_the_context_decides(scope: UUID) -> None:
    context = {"collection": "product_reviews"}

    plan = planned("Analyze the sentiment", scope, context)

    assert plan.steps[0].input["collection"] == {"$from": "context.collection"}


def test_two_recipes_fetch_once(scope: UUID) -> None:
    plan = planned("Analyze sentiment of product reviews and find the keywords", scope)

    assert [step.step_id for step in plan.steps] == [
        "documents",
        "sentiment",
        "keywords",
    ]


def test_a_table_may_be_a_document(scope: UUID) -> None:
    plan = planned("Describe the sales table", scope)

    assert plan.steps[1].input == {"table": {"$from": "steps.documents.texts.0"}}


def test_documents_are_searched_for_the_goals_words(scope: UUID) -> None:
    plan = planned("Search the documents for broken products", scope)

    assert plan.steps[0].input == {"query": {"$from": "goal"}}
    assert plan.result["passages"] == {"$from": "steps.search.passages"}


@pytest.mark.parametrize(
    "goal",
    [
        "Analyze sentiment of product reviews",
        "Search the documents for refunds",
        "Describe the sales table",
    ],
)
def test_another_owners_documents_are_not_there(scope: UUID, goal: str) -> None:
    with pytest.raises(MissingInputError, match="POST /documents"):
        planned(goal, uuid4())
