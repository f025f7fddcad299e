"""``octollm ingest``: files become documents of an owner."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from arms.commands import app
from arms.knowledge.models import Document
from octollm.access import DEFAULT_OWNER
from octollm.access.models import Owner
from octollm.errors import RequestError
from octollm.log import configure

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Have the command find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.jsonl"
    path.write_text("\n".join(json.dumps({"text": f"Review {n}."}) for n in range(150)))
    return path


def run(*words: str | Path) -> Result:
    return CliRunner().invoke(app, ["ingest", *(str(word) for word in words)])


def test_each_document_is_printed_as_json_and_words_go_elsewhere(reviews: Path) -> None:
    result = run(reviews)

    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert result.exit_code == 0
    assert len(lines) == Document.objects.count() == 150
    assert set(lines[0]) == {"document_id", "collection", "chunks", "duplicate_of"}
    assert "150 documents stored" in result.stderr


def test_a_second_time_nothing_is_stored_again(reviews: Path) -> None:
    run(reviews)

    result = run(reviews)

    assert Document.objects.count() == 150
    assert "0 documents stored, 150 were there already" in result.stderr


def test_collection_and_owner_can_be_named(reviews: Path) -> None:
    run(reviews, "--collection", "product_reviews", "--owner", "acme")

    owner = Owner.objects.get(name="acme")
    stored = Document.objects.filter(owner_scope=owner.pk, collection="product_reviews")
    assert stored.count() == 150


def test_without_a_name_the_documents_are_those_of_new_keys(reviews: Path) -> None:
    run(reviews)

    owner = Owner.objects.get(name=DEFAULT_OWNER)
    assert Document.objects.filter(owner_scope=owner.pk).count() == 150


def test_a_path_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    result = run(tmp_path / "missing.txt")

    assert result.exit_code == 2


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")

    result = run(path)

    assert isinstance(result.exception, RequestError)
    assert "broken.json" in result.exception.message


def test_the_module_can_be_read_without_django() -> None:
    code = "import sys, arms.commands; print('django' in sys.modules)"

    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert found.stdout.strip() == "False"
