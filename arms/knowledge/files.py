"""Reading documents out of files: what one file holds, and which files there are."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path

from arms.knowledge.documents import MAX_TITLE_LENGTH, NewDocument
from octollm.errors import RequestError
from octollm.types import JSONObject, JSONValue

SUFFIXES = (".txt", ".md", ".csv", ".json", ".jsonl")
_TEXT_FIELDS = ("text", "review", "body", "content", "comment", "message")
_TITLE_FIELDS = ("title", "name", "subject", "id")
_MAX_FILE_BYTES = 110 * 2**20


def find_files(path: Path) -> list[Path]:
    """Return the files that can be read: the path itself, or those below it.

    Raises:
        RequestError: there is none.
    """
    if path.is_dir():
        found = sorted(
            each
            for each in path.rglob("*")
            if each.suffix.lower() in SUFFIXES
            and each.is_file()
            and not any(part.startswith(".") for part in each.relative_to(path).parts)
        )
    else:
        found = [path] if path.suffix.lower() in SUFFIXES and path.is_file() else []
    if not found:
        listed = ", ".join(SUFFIXES)
        raise RequestError(f"There is nothing to read there: {listed} are understood.")
    return found


def read_documents(path: Path, collection: str | None = None) -> Iterator[NewDocument]:
    """Yield the documents in a file: one, or one per row, object or line.

    A row's text is in a field text, review, body, content, comment or message; its
    title in title, name, subject or id; the other fields become metadata. A file in
    which no row has such a field is one document. The collection is the one given,
    the one a row names, or the file's name.

    Raises:
        RequestError: the file is too large, not UTF-8 or not what its name says.
    """
    text = _read(path)
    fallback = collection or path.stem
    rows = _rows(path, text)
    if rows is None or not any(_text_field(row) for row in rows):
        if text.strip():
            yield NewDocument(
                collection=fallback, title=path.name[:MAX_TITLE_LENGTH], text=text
            )
        return
    for number, row in enumerate(rows, start=1):
        document = _from_row(row, title=f"{path.stem} {number}", collection=fallback)
        if document is not None:
            yield document


def _read(path: Path) -> str:
    """Return a file's text; a byte order mark is no part of it."""
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise RequestError(f"{path.name} is larger than {_MAX_FILE_BYTES:,} bytes.")
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RequestError(f"{path.name} is not UTF-8.") from error


def _rows(path: Path, text: str) -> list[JSONValue] | None:
    """Return the rows of a file that has some."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".csv":
            csv.field_size_limit(_MAX_FILE_BYTES)
            return [dict(row) for row in csv.DictReader(io.StringIO(text))]
        if suffix == ".jsonl":
            return [json.loads(line) for line in text.splitlines() if line.strip()]
        if suffix == ".json":
            value = json.loads(text)
            return value if isinstance(value, list) else None
    except (ValueError, csv.Error, RecursionError) as error:
        raise RequestError(f"{path.name} is not {suffix[1:].upper()}.") from error
    return None


def _text_field(row: JSONValue) -> str:
    """Return the name of the row's field that holds its text, or nothing."""
    if isinstance(row, str):
        return "text"
    if not isinstance(row, dict):
        return ""
    return next(
        (
            name
            for wanted in _TEXT_FIELDS
            for name, value in row.items()
            if name and name.lower() == wanted and isinstance(value, str)
        ),
        "",
    )


def _from_row(row: JSONValue, *, title: str, collection: str) -> NewDocument | None:
    """Return the document in a row, or nothing when its text is blank."""
    if isinstance(row, str):
        return _if_text(NewDocument(collection=collection, title=title, text=row))
    name = _text_field(row)
    if not name or not isinstance(row, dict):
        return None
    rest: JSONObject = {key: value for key, value in row.items() if key and key != name}
    titled = next((key for key in rest if key.lower() in _TITLE_FIELDS), "")
    own_collection = rest.pop("collection", None)
    if isinstance(own_metadata := rest.get("metadata"), dict):
        del rest["metadata"]
        rest |= own_metadata
    return _if_text(
        NewDocument(
            collection=str(own_collection) if own_collection else collection,
            title=str(rest.pop(titled) if titled else title)[:MAX_TITLE_LENGTH],
            text=str(row[name]),
            metadata=rest,
        )
    )


def _if_text(document: NewDocument) -> NewDocument | None:
    """Return the document unless its text is blank."""
    return document if document.text.strip() else None
