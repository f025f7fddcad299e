"""The sample: enough of it, varied, named as one, with something to conceal."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

import arms.knowledge
from arms.knowledge import documents, search
from arms.knowledge.files import read_documents
from arms.knowledge.models import Document
from arms.services.analyst.sentiment import score_texts
from arms.services.analyst.texts import go_on
from octollm.ids import new_id

SAMPLE = Path(arms.knowledge.__file__).parent / "samples" / "product_reviews.jsonl"
ROWS = [json.loads(line) for line in SAMPLE.read_text().splitlines()]


def test_there_are_over_two_hundred_different_reviews() -> None:
    assert len({row["text"] for row in ROWS}) == len(ROWS) > 200
    assert len({row["text"][:20] for row in ROWS}) > 200


def test_all_of_them_are_named_a_sample() -> None:
    assert all(row["metadata"]["sample"] is True for row in ROWS)
    assert "written for this project" in (SAMPLE.parent / "README.md").read_text()


def test_products_and_ratings_are_mixed() -> None:
    products = Counter(row["metadata"]["product"] for row in ROWS)
    stars = Counter(row["metadata"]["stars"] for row in ROWS)

    assert len(products) >= 8
    assert set(stars) == {1, 2, 3, 4, 5}
    assert min(stars.values()) > 20


def test_the_lexicon_finds_each_kind_of_review() -> None:
    found = score_texts(tuple(row["text"] for row in ROWS), check=go_on)

    assert min(found.positive, found.negative, found.undecided) > 0.15


@pytest.mark.django_db
def test_it_is_ingested_concealed_and_meant_by_the_example_goal() -> None:
    scope = new_id()

    documents.ingest_all(scope, list(read_documents(SAMPLE)))

    stored = Document.objects.filter(owner_scope=scope)
    selection = search.choose(scope, "Analyze sentiment of product reviews")
    assert selection is not None
    assert len(selection.document_ids) == stored.count() == len(ROWS)
    assert stored.filter(text__contains="[EMAIL_K").count() >= 2
    assert stored.filter(text__contains="[PHONE_K").count() >= 2
    assert not stored.filter(text__contains="@").exists()
    assert not stored.exclude(taint=[]).exists()
