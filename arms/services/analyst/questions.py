"""What a question about a table names: columns to group by, and measures.

“Average price by region” and “which shop has the highest sales” say both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from arms.services.analyst.measures import Measure
from arms.services.analyst.tables import Column, Table, plain_name

_FUNCTION_WORDS = {
    word: function
    for function, words in {
        "sum": ("sum", "total"),
        "mean": ("mean", "average", "avg"),
        "median": ("median",),
        "min": ("min", "minimum", "lowest", "smallest", "least", "cheapest"),
        "max": ("max", "maximum", "highest", "largest", "most", "greatest"),
    }.items()
    for word in words
}
# A goal has some dozens of words; one of a million must not take its time.
_MAX_WORDS = 500
_MAX_NAME_WORDS = 8
_WORD = re.compile(r"[^\W_]+")
_GROUPING = frozenset({"by", "per", "each", "every", "which", "what"})
_BETWEEN = frozenset({"the", "of", "a", "an", "all"})


@dataclass(frozen=True, kw_only=True)
class Named:
    """What a question names; empty where it names nothing."""

    group_by: tuple[str, ...]
    measures: tuple[Measure, ...]


def read_question(table: Table, question: str) -> Named:
    """Return the columns that stand behind by, per, each or which, and the measures.

    A column of numbers behind a function's word (average, total, highest) is measured
    by it; “and” carries on what stood before.
    """
    group_by: list[str] = []
    measures: list[Measure] = []
    function, is_grouping = "", False
    for item in _items(table, question):
        if isinstance(item, str):
            function = _FUNCTION_WORDS.get(item, function)
            is_grouping = item in _GROUPING or (
                is_grouping and item in ("and", *_BETWEEN)
            )
        elif is_grouping:
            group_by.append(item.name)
        elif function and item.type == "number":
            measures.append(Measure(column=item.name, function=function))
    return Named(
        group_by=tuple(dict.fromkeys(group_by)),
        measures=tuple(dict.fromkeys(measures)),
    )


def named_columns(table: Table, question: str) -> list[Column]:
    """Return the columns that a question names, in its order, each once."""
    found = (item.what for item in read_items(table, question))
    named = {column.name: column for column in found if isinstance(column, Column)}
    return list(named.values())


def columns_after(table: Table, question: str, words: frozenset[str]) -> list[Column]:
    """Return the columns that stand behind one of ``words``; “and” carries on."""
    found: dict[str, Column] = {}
    is_behind = False
    for item in _items(table, question):
        if isinstance(item, str):
            is_behind = item in words or (is_behind and item in ("and", *_BETWEEN))
        elif is_behind:
            found[item.name] = item
    return list(found.values())


def asked_function(question: str) -> str:
    """Return the function that a question names first, or nothing."""
    words = plain_name(question).split()
    return next(
        (_FUNCTION_WORDS[word] for word in words if word in _FUNCTION_WORDS), ""
    )


@dataclass(frozen=True, kw_only=True)
class Item:
    """A word of a question, or the column that some words of it name; and where."""

    what: str | Column
    start: int
    end: int


def read_items(table: Table, question: str) -> Iterator[Item]:
    """Yield the question's words, and columns in place of the words that name them."""
    found = list(islice(_WORD.finditer(question), _MAX_WORDS))
    words = [_singular(match.group().casefold()) for match in found]
    columns = _by_words(table)
    longest = max(map(len, columns), default=0)
    place = 0
    while place < len(words):
        size, column = next(
            (
                (size, columns[name])
                for size in range(min(longest, len(words) - place), 0, -1)
                if (name := tuple(words[place : place + size])) in columns
            ),
            (1, None),
        )
        yield Item(
            what=words[place] if column is None else column,
            start=found[place].start(),
            end=found[place + size - 1].end(),
        )
        place += size


def _items(table: Table, question: str) -> Iterator[str | Column]:
    return (item.what for item in read_items(table, question))


def _by_words(table: Table) -> dict[tuple[str, ...], Column]:
    """Return the columns by the words of their names; of equal names the first."""
    columns: dict[tuple[str, ...], Column] = {}
    for column in table.columns:
        words = tuple(_singular(word) for word in plain_name(column.name).split())
        if 0 < len(words) <= _MAX_NAME_WORDS:
            columns.setdefault(words, column)
    return columns


def _singular(word: str) -> str:
    """Take a plural's ending off, so that “regions” names the column region."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
