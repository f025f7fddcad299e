"""Rows in order: by which columns, which end first, and how many of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from arms.services.analyst.analysis import choice, names, question_of, whole_number
from arms.services.analyst.dates import read_dates
from arms.services.analyst.measures import column_of
from arms.services.analyst.questions import columns_after, named_columns
from arms.services.analyst.tables import Cell, Column, Table, plain_name
from arms.services.analyst.texts import Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject

ORDERS = ("ascending", "descending")
_ENDS = {
    word: order
    for order, words in {
        "ascending": "ascending asc increasing lowest smallest cheapest least oldest "
        "earliest shortest fewest bottom worst minimum alphabetical alphabetically",
        "descending": "descending desc decreasing highest largest biggest greatest most "
        "newest latest longest top best maximum reverse priciest",
    }.items()
    for word in words.split()
}
_COUNTS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
_COUNTS |= {"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
_BEHIND = frozenset({"by", "on"})
_FIRST = frozenset({"first", *_ENDS})


@dataclass(frozen=True, kw_only=True)
class Ordering:
    """How rows are wanted.

    Attributes:
        limit: how many of them at most; all if nobody said.
    """

    columns: tuple[Column, ...]
    order: str
    limit: int


def read_ordering(table: Table, given: JSONObject) -> Ordering:
    """Return the order as given, as the question asks for it, or by default.

    Raises:
        ArmInputError: nothing says by which column, or there is no such column.
    """
    question = question_of(given)
    columns = [column_of(table, name) for name in names(given, "by")]
    words = plain_name(question).split()[:500]
    asked = next((_ENDS[word] for word in words if word in _ENDS and word != "top"), "")
    default = asked or ("descending" if "top" in words else "ascending")
    return Ordering(
        columns=tuple(columns or _asked_columns(table, question)),
        order=choice(given, "order", ORDERS, default=default),
        limit=whole_number(
            given,
            "limit",
            default=_asked(words) or table.row_count,
            most=table.row_count,
        ),
    )


def _asked_columns(table: Table, question: str) -> list[Column]:
    """Return the columns behind “by”, else those of numbers, else all that are named.

    Where the question names none, the only column of numbers is meant.
    """
    named = named_columns(table, question)
    columns = (
        columns_after(table, question, _BEHIND)
        or [column for column in named if column.type == "number"]
        or named
        or [column for column in table.columns if column.type == "number"]
    )
    if not columns or (not named and len(columns) > 1):
        known = ", ".join(column.name for column in table.columns[:20])
        raise ArmInputError(f"Say by which column to sort, with “by”: {known}.")
    return columns


def _asked(words: Sequence[str]) -> int:
    """Return 5 for “top 5”, “the 5 cheapest” and “first five”; 0 without such."""
    for one, other in pairwise(words):
        if one in _FIRST and (number := _number(other)):
            return number
        if other in _FIRST and (number := _number(one)):
            return number
    return 0


def _number(word: str) -> int:
    if re.fullmatch(r"[1-9]\d{0,4}", word, re.ASCII):
        return int(word)
    return _COUNTS.get(word, 0)


def sorted_rows(table: Table, ordering: Ordering, *, check: Check) -> list[int]:
    """Return the numbers of all rows, counted from 0, in order.

    Rows that are alike keep their order; missing cells come last either way.
    """
    rows = list(range(table.row_count))
    is_reverse = ordering.order == "descending"
    for column in reversed(ordering.columns):
        check()
        keys = _keys(column)
        present = [row for row in rows if keys[row] is not None]
        missing = [row for row in rows if keys[row] is None]
        # What is no number or date of its column stands behind those that are.
        present.sort(key=lambda row: keys[row] or _NOTHING, reverse=is_reverse)
        rows = present + missing
    return rows


_Key = tuple[int, float, str]
_NOTHING: _Key = (0, 0.0, "")


def _keys(column: Column) -> list[_Key | None]:
    """Return what cells are ordered by: numbers, then dates, then texts."""
    days = read_dates(column.cells) if column.type == "text" else []
    is_dates = bool(days) and sum(day is not None for day in days) * 2 > len(
        column.present
    )
    return [
        _key(cell, days[row] if is_dates else None)
        for row, cell in enumerate(column.cells)
    ]


def _key(cell: Cell, day: date | None) -> _Key | None:
    if cell is None:
        return None
    if day is not None:
        return (1, float(day.toordinal()), str(cell))
    if isinstance(cell, str):
        return (2, 0.0, cell.casefold())
    return (0, float(cell), "")
