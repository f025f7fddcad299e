"""Values in a request that a recipe may work on, and what kind each is."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

from octollm.types import JSONObject, JSONValue
from planner.words import root, roots

TEXT_FIELDS = ("text", "review", "body", "content", "comment", "message")
TEXT_KEYS = frozenset(
    roots(
        "reviews texts documents comments feedback items messages articles text "
        "document article review comment message posts tweets tickets emails notes "
        "sentences paragraphs body content transcript report answers responses essay "
        "letter letters reports"
    )
)
TABLE_KEYS = frozenset(roots("table csv rows data records dataset spreadsheet"))
VALUE_KEYS = frozenset(roots("data json payload document response object value config"))
LIST_KEYS = frozenset(roots("items list ids records entries values"))
# These say how to work, not on what.
_OPTION_KEYS = frozenset(" ".join(roots(key.replace("_", " "))) for key in """
    rules labels categories classes kinds collection limit top sentences sentence_count
    keyword_count query group_by groupby by measures metrics language question title
    name where conditions filter sort_by order_by columns key_columns rule date_column
    value_column period pivot_rows pivot_columns pivot_value on join_on key how to
    format bins terms pattern contains lacks similarity into schema json_schema
    batch_size size
    """.split())  # noqa: SIM905  # reads better than a list
_LONG_TEXT = 80
_DELIMITED = re.compile(r"[^\n]*[,;\t|][^\n]*\r?\n[^\n]*[,;\t|]")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A value in the request that may be worked on.

    Attributes:
        path: how a plan refers to it.
        key: what the context calls it, empty for what the goal brings.
        size: how many characters of text are in it.
    """

    path: str
    value: JSONValue
    key: str
    size: int


def places(context: JSONObject) -> Iterator[Place]:
    """Yield the members of the context, and one level below."""
    for key, value in context.items():
        if _is_option(key):
            continue
        yield Place(path=f"context.{key}", value=value, key=key, size=_size(value))
        if isinstance(value, dict):
            for inner, below in value.items():
                path = f"context.{key}.{inner}"
                yield Place(path=path, value=below, key=inner, size=_size(below))


def is_texts(place: Place) -> bool:
    """Tell whether a value is a text or a list of texts."""
    value = place.value
    if isinstance(value, str):
        is_expected = root(place.key) in TEXT_KEYS
        return bool(value.strip()) and (is_expected or len(value) >= _LONG_TEXT)
    return isinstance(value, list) and any(map(_holds_text, value))


def is_table(place: Place) -> bool:
    """Tell whether a value is a table in one of the forms that the analyst reads."""
    value = place.value
    if isinstance(value, str):
        return _DELIMITED.match(value) is not None or (
            root(place.key) in TABLE_KEYS and "\n" in value.strip()
        )
    if isinstance(value, dict):
        return isinstance(value.get("columns"), list) and isinstance(
            value.get("rows"), list
        )
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) for row in value)
    )


def is_value(place: Place) -> bool:
    """Tell whether a value is an object, a list, or a text with JSON in it."""
    if isinstance(place.value, str):
        return _is_json(place.value)
    return isinstance(place.value, dict | list)


def is_list(place: Place) -> bool:
    """Tell whether a value is a list with something in it."""
    return isinstance(place.value, list) and bool(place.value)


def columns_of(table: JSONValue) -> list[str]:
    """Return the names of a table's columns, none if it is no table."""
    if isinstance(table, str):
        return re.split(r"[,;\t|]", table.partition("\n")[0])
    if isinstance(table, dict):
        columns = table.get("columns")
        return [str(each) for each in columns] if isinstance(columns, list) else []
    first = table[0] if isinstance(table, list) and table else None
    return list(first) if isinstance(first, dict) else []


def is_named(key: str, goal: frozenset[str]) -> bool:
    """Tell whether the goal names a key: "reviews" names product_reviews."""
    named = roots(key.replace("_", " "))
    return bool(named) and named[-1] in goal


def _is_option(key: str) -> bool:
    return " ".join(roots(key.replace("_", " "))) in _OPTION_KEYS


def _size(value: JSONValue) -> int:
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_size, value))
    return sum(map(_size, value.values())) if isinstance(value, dict) else 0


def _holds_text(value: JSONValue) -> bool:
    if isinstance(value, dict):
        return any(isinstance(value.get(field), str) for field in TEXT_FIELDS)
    return isinstance(value, str) and bool(value.strip())


def _is_json(text: str) -> bool:
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True
