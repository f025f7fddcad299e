"""The retriever: passages and documents of the task's owner, as they are stored."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from arms.knowledge import documents
from arms.knowledge.documents import NewDocument
from arms.services.retriever.arm import RetrieverArm
from octollm.errors import ArmInputError, MissingInputError
from octollm.ids import new_id
from tests.arms.services.requests import output_of, run

pytestmark = pytest.mark.django_db

EMAIL = "jo.doe" + "@example.com"
TEXTS = ["The kettle boils fast.", f"Ask {EMAIL} about the kettle.", "A dull phone."]


@pytest.fixture
def scope() -> UUID:
    owner = new_id()
    given = [
        NewDocument(collection="product_reviews", title=f"Review {n}", text=text)
        for n, text in enumerate(TEXTS)
    ]
    documents.ingest_all(owner, given)
    return owner


def retrieve(capability: str, scope: UUID | None, **given: Any) -> Any:
    return output_of(RetrieverArm(), capability, given, knowledge_scope=scope)


def test_documents_that_a_goal_means_are_given_concealed(scope: UUID) -> None:
    output = retrieve(
        "fetch_documents", scope, goal="Analyze sentiment of product reviews"
    )

    assert output["texts"] == [TEXTS[0], "Ask [EMAIL_K1] about the kettle.", TEXTS[2]]
    assert output["titles"] == ["Review 0", "Review 1", "Review 2"]
    assert (output["count"], output["available"]) == (3, 3)
    assert output["collection"] == "product_reviews"
    assert "product_reviews" in output["matched_by"]


def test_the_limit_is_kept_and_what_it_left_out_is_told(scope: UUID) -> None:
    reply = run(
        RetrieverArm(),
        "fetch_documents",
        {"goal": "product reviews", "limit": 2},
        knowledge_scope=scope,
    )

    assert (reply.output["count"], reply.output["available"]) == (2, 3)
    assert "1 more were left out" in str(reply.output["method"])
    assert reply.confidence == pytest.approx(2 / 3)


def test_documents_that_would_not_fit_an_output_are_left_out(
    scope: UUID, settings: Any
) -> None:
    settings.OCTOLLM_MAX_OUTPUT_BYTES = 250

    output = retrieve("fetch_documents", scope, goal="product reviews")

    assert (output["count"], output["available"]) == (2, 3)


def test_a_document_larger_than_an_output_is_cut_and_told(
    scope: UUID, settings: Any
) -> None:
    settings.OCTOLLM_MAX_OUTPUT_BYTES = 16

    output = retrieve("fetch_documents", scope, goal="product reviews")

    assert output["texts"] == ["The kettle b"]
    assert "was cut" in output["method"]


def test_a_goal_that_means_no_document_says_what_to_do(scope: UUID) -> None:
    with pytest.raises(MissingInputError, match="ingest"):
        retrieve("fetch_documents", scope, goal="Summarise the hotel bills")


def test_passages_are_cited_with_their_place(scope: UUID) -> None:
    output = retrieve("search", scope, query="kettles that boil")

    best = output["passages"][0]
    assert (best["text"], best["start"], best["end"]) == (TEXTS[0], 0, len(TEXTS[0]))
    assert output["count"] == 2
    assert [each["score"] for each in output["passages"]] == sorted(
        (each["score"] for each in output["passages"]), reverse=True
    )


def test_a_search_without_a_hit_is_an_answer(scope: UUID) -> None:
    reply = run(RetrieverArm(), "search", {"query": "submarine"}, knowledge_scope=scope)

    assert reply.output["passages"] == []
    assert reply.confidence == 0


@pytest.mark.parametrize(
    ("capability", "given"),
    [
        ("search", {"query": "kettle"}),
        ("fetch_documents", {"goal": "product reviews"}),
        ("fetch_documents", {"goal": "x", "collection": "product_reviews"}),
    ],
)
def test_another_owners_documents_stay_unseen(
    scope: UUID, capability: str, given: Any
) -> None:
    stranger = new_id()

    if capability == "search":
        assert retrieve(capability, stranger, **given)["count"] == 0
    else:
        with pytest.raises(MissingInputError):
            retrieve(capability, stranger, **given)


def test_a_task_without_an_owners_scope_reads_nothing(scope: UUID) -> None:
    with pytest.raises(MissingInputError, match="nobody"):
        retrieve("search", None, query="kettle")


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({}, MissingInputError),
        ({"query": ""}, MissingInputError),
        ({"query": 5}, ArmInputError),
        ({"query": "kettle", "limit": 0}, ArmInputError),
        ({"query": "kettle", "limit": "3"}, ArmInputError),
        ({"query": "kettle", "collection": 5}, ArmInputError),
    ],
)
def test_input_of_another_shape_is_refused(
    scope: UUID, given: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        retrieve("search", scope, **given)


def test_self_check_really_searches() -> None:
    assert RetrieverArm().check().is_healthy
