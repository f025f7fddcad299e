"""What fits an output: outputs travel through the database and have a limit."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import TypeVar

from arms.services.analyst.concealing import cut
from arms.services.analyst.tables import as_given
from octollm.types import JSONObject, JSONValue

MAX_ROWS = 10_000
#: Of JSON; OCTOLLM_MAX_OUTPUT_BYTES leaves room for what stands beside it.
MAX_OUTPUT_CHARACTERS = 3_000_000
# JSON writes a control character with six; what stands beside the text has room.
_LONGEST_TEXT = MAX_OUTPUT_CHARACTERS // 6 - 1_000

T = TypeVar("T")


def fitting(members: Iterable[T], *, most: int) -> list[T]:
    """Return the members that fit an output, from the first; at most ``most``."""
    kept: list[T] = []
    room = MAX_OUTPUT_CHARACTERS
    for member in members:
        room -= len(json.dumps(member, ensure_ascii=False)) + 2
        if room < 0 or len(kept) == most:
            break
        kept.append(member)
    return kept


def fitting_text(text: str) -> str:
    """Return as much of a text as fits an output in any case."""
    return cut(text, most=_LONGEST_TEXT)


def as_table(
    names: Sequence[str], rows: Iterable[Sequence[JSONValue]], *, count: int
) -> JSONObject:
    """Return the keys ``table`` and ``table_cut`` of an output.

    Args:
        names: of the columns.
        rows: cells as they came.
        count: how many rows there are.
    """
    shown: Iterable[list[JSONValue]] = (
        [as_given(cell) for cell in row] for row in rows
    )
    kept = fitting(shown, most=MAX_ROWS)
    columns: list[JSONValue] = list(names)
    written: list[JSONValue] = list(kept)
    return {
        "table": {"columns": columns, "rows": written},
        "table_cut": len(kept) < count,
    }


def as_texts(
    texts: Iterable[tuple[int, str]], *, count: int, most: int
) -> tuple[list[JSONValue], bool]:
    """Return texts with their numbers as they fit an output, and whether any was cut.

    A text too long for any output is cut itself: some of it is better than nothing.
    """
    is_cut = False

    def shown() -> Iterable[JSONObject]:
        nonlocal is_cut
        for index, text in texts:
            is_cut |= len(text) > _LONGEST_TEXT
            yield {"index": index, "text": fitting_text(text)}

    kept: list[JSONValue] = list(fitting(shown(), most=most))
    return kept, is_cut or len(kept) < count
