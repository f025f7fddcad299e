"""Which documents a goal means, and which passages hold a query's words."""

from __future__ import annotations

from uuid import UUID

import pytest

from arms.knowledge import documents, search
from arms.knowledge.documents import NewDocument
from arms.knowledge.goal_words import read_goal
from arms.knowledge.models import Document
from octollm.ids import new_id

pytestmark = pytest.mark.django_db

KETTLE = "Boils fast. The handle of the kettle stays cool."
PHONE = "The battery life of this phone is poor, but I like the screen."
PIZZA = "Knead the dough. Our product team will review the oven."


@pytest.fixture
def scope() -> UUID:
    """An owner with two reviews, a recipe and the minutes of a meeting."""
    owner = new_id()
    given = [
        ("product_reviews", "Review 1", KETTLE),
        ("product_reviews", "Review 2", PHONE),
        ("recipes", "Pizza", PIZZA),
        ("meetings", "Budget meeting in May", "We spoke about the price of steel."),
    ]
    documents.ingest_all(
        owner, [NewDocument(collection=c, title=t, text=x) for c, t, x in given]
    )
    return owner


def texts(selection: search.Selection | None) -> set[str]:
    ids = selection.document_ids if selection else ()
    rows = Document.objects.filter(id__in=ids)
    return set(rows.values_list("text", flat=True))


@pytest.mark.parametrize(
    "goal",
    [
        "Analyze sentiment of product reviews",
        "analyse the SENTIMENT of our product review",
        "What is the sentiment of the reviews of our products?",
        "Summarise all reviews",
        "Extract keywords from the collection product_reviews",
        "Review the product reviews of 2024",
        "Please find the 10 most frequent keywords in the product reviews",
    ],
)
def test_a_goal_about_product_reviews_means_that_collection(
    scope: UUID, goal: str
) -> None:
    selection = search.choose(scope, goal)

    assert texts(selection) == {KETTLE, PHONE}
    assert selection is not None
    assert selection.collection == "product_reviews"
    assert "product_reviews" in selection.matched_by


@pytest.mark.parametrize(
    "goal",
    [
        "Analyze sentiment of hotel reviews",
        "Summarise the product manuals",
        "Analyze sentiment",
        "Describe the table",
        "Sentiment of film critics",
        "",
    ],
)
def test_a_goal_about_other_things_means_nothing(scope: UUID, goal: str) -> None:
    assert search.choose(scope, goal) is None


def test_product_reviews_are_not_answered_from_other_documents() -> None:
    owner = new_id()
    documents.ingest(owner, collection="recipes", title="Pizza", text=PIZZA)
    documents.ingest(owner, collection="products", title="List", text="Kettle, 20 USD")

    assert search.choose(owner, "Analyze sentiment of product reviews") is None


@pytest.mark.parametrize(
    ("goal", "expected"),
    [
        ("Summarise the budget meeting", {"We spoke about the price of steel."}),
        ("Summarise the pizza recipe", {PIZZA}),
        ("Sentiment of the kettle reviews", {KETTLE}),
        ("What do people say about battery life?", {PHONE}),
    ],
)
def test_titles_and_texts_narrow_what_is_meant(
    scope: UUID, goal: str, expected: set[str]
) -> None:
    assert texts(search.choose(scope, goal)) == expected


def test_an_explicit_collection_decides_alone(scope: UUID) -> None:
    assert texts(search.choose(scope, "Analyze sentiment", collection="Recipes")) == {
        PIZZA
    }
    assert search.choose(scope, "product reviews", collection="none such") is None


def test_a_goal_for_the_documents_as_such_means_all(scope: UUID) -> None:
    selection = search.choose(scope, "Summarise my documents")

    assert len(texts(selection)) == 4
    assert selection is not None
    assert selection.collection is None


def test_another_owners_documents_are_never_meant(scope: UUID) -> None:
    assert search.choose(new_id(), "Analyze sentiment of product reviews") is None
    assert search.choose(new_id(), "x", collection="product_reviews") is None
    assert search.find(new_id(), "kettle") == []


def test_documents_are_given_oldest_first(scope: UUID) -> None:
    selection = search.choose(scope, "product reviews")

    assert selection is not None
    found = [Document.objects.get(pk=pk).text for pk in selection.document_ids]
    assert found == [KETTLE, PHONE]


def test_found_passages_stand_where_they_say(scope: UUID) -> None:
    (passage,) = search.find(scope, "kettles")

    stored = Document.objects.get(pk=passage.document_id)
    assert stored.text[passage.start : passage.end] == passage.text == KETTLE
    assert (passage.title, passage.collection) == ("Review 1", "product_reviews")
    assert 0 < passage.score <= 1


def test_more_of_the_words_rank_higher(scope: UUID) -> None:
    found = search.find(scope, "phone battery or kettle")

    assert [passage.text for passage in found] == [PHONE, KETTLE]
    assert found[0].score > found[1].score


def test_a_search_can_be_limited(scope: UUID) -> None:
    assert len(search.find(scope, "review", limit=1)) == 1
    assert {
        p.collection for p in search.find(scope, "review", collection="recipes")
    } == {"recipes"}


@pytest.mark.parametrize(
    "query",
    ["", "the of and", "' | ! & ( :* <-> \\", "'); DROP TABLE chunks; --", "١٢٣"],
)
def test_a_hostile_or_empty_query_finds_nothing(scope: UUID, query: str) -> None:
    assert search.find(scope, query) == []


def test_request_words_do_not_count_unless_they_are_all_there_is(scope: UUID) -> None:
    documents.ingest(scope, collection="notes", title="Find", text="Find the key.")

    assert {p.collection for p in search.find(scope, "find pizza")} == {"recipes"}
    assert {p.collection for p in search.find(scope, "find")} == {"notes"}


@pytest.mark.parametrize(
    ("goal", "phrases"),
    [
        ("Analyze sentiment of product reviews", [("product", "review")]),
        ("reviews about our new products", [("new", "product", "review")]),
        (
            "Compare battery life and screen quality",
            [("batteri", "life"), ("screen", "qualiti")],
        ),
        ("Mail [EMAIL_1] the price list", [("price",)]),
    ],
)
def test_words_of_a_goal_are_grouped_around_what_they_describe(
    goal: str, phrases: list[tuple[str, ...]]
) -> None:
    assert list(read_goal(goal).phrases()) == phrases


def test_a_long_goal_is_read_in_a_moment() -> None:
    assert read_goal("battery " * 20_000).subject == ("batteri",)
