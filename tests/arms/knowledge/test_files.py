"""Reading documents out of files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from arms.knowledge.documents import NewDocument
from arms.knowledge.files import find_files, read_documents
from octollm.errors import RequestError

ROWS = [
    {"title": "One", "text": "Fine.", "stars": 5},
    {"id": "b", "review": "Bad.", "collection": "returns", "metadata": {"x": 1}},
    {"title": "Empty", "text": " "},
    {"title": "No text"},
]


def read(path: Path, content: str, collection: str | None = None) -> list[NewDocument]:
    path.write_text(content)
    return list(read_documents(path, collection))


@pytest.mark.parametrize("name", ["notes.txt", "notes.md"])
def test_a_text_file_is_one_document(tmp_path: Path, name: str) -> None:
    (document,) = read(tmp_path / name, "# Notes\n\nA kettle.\n")

    assert (document.collection, document.title) == ("notes", name)
    assert document.text == "# Notes\n\nA kettle.\n"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("reviews.jsonl", "\n".join(json.dumps(row) for row in ROWS)),
        ("reviews.json", json.dumps(ROWS)),
    ],
)
def test_rows_with_text_are_documents(tmp_path: Path, name: str, content: str) -> None:
    first, second = read(tmp_path / name, content)

    assert first == NewDocument(
        collection="reviews", title="One", text="Fine.", metadata={"stars": 5}
    )
    assert second == NewDocument(
        collection="returns", title="b", text="Bad.", metadata={"x": 1}
    )


def test_rows_of_csv_are_documents(tmp_path: Path) -> None:
    content = '\ufeffTitle,Review,Stars\nOne,"Fine, really.",5\n,Bad.,1\n'

    first, second = read(tmp_path / "reviews.csv", content, "mine")

    assert (first.collection, first.title) == ("mine", "One")
    assert (first.text, first.metadata) == ("Fine, really.", {"Stars": "5"})
    assert second.text == "Bad."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("sales.csv", "region,price\nNorth,5\n"),
        ("one.json", '{"a": 1}'),
        ("numbers.json", "[1, 2]"),
    ],
)
def test_a_file_without_texts_in_rows_is_one_document(
    tmp_path: Path, name: str, content: str
) -> None:
    (document,) = read(tmp_path / name, content)

    assert document.text == content


def test_a_list_of_strings_is_a_document_each(tmp_path: Path) -> None:
    documents = read(tmp_path / "reviews.json", '["Fine.", "", "Bad."]')

    assert [each.text for each in documents] == ["Fine.", "Bad."]
    assert documents[1].title == "reviews 3"


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.json", b"{"), ("a.jsonl", b"{}\n{"), ("a.txt", b"\xff\xfe\xfa")],
)
def test_a_file_that_is_not_what_it_says_is_refused_by_name(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)

    with pytest.raises(RequestError, match=name):
        list(read_documents(tmp_path / name))


def test_a_directory_is_searched_for_files_that_are_understood(tmp_path: Path) -> None:
    for name in ("b.txt", "deep/a.md", "image.png", ".hidden/c.txt", ".d.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x")

    found = [str(path.relative_to(tmp_path)) for path in find_files(tmp_path)]

    assert found == ["b.txt", "deep/a.md"]


@pytest.mark.parametrize("name", ["image.png", "missing.txt", "empty"])
def test_nothing_to_read_is_said_with_what_is_understood(
    tmp_path: Path, name: str
) -> None:
    (tmp_path / "image.png").write_text("x")
    (tmp_path / "empty").mkdir()

    with pytest.raises(RequestError, match=r"\.jsonl"):
        find_files(tmp_path / name)
