"""What a question about a table names: columns to group by, and measures.

“Average price by region” and “which shop has the highest sales” say both.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

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


def _items(table: Table, question: str) -> Iterator[str | Column]:
    """Yield the question's words, and columns in place of the words that name them."""
    words = [_singular(word) for word in plain_name(question).split()]
    names = [
        (tuple(_singular(word) for word in plain_name(column.name).split()), column)
        for column in table.columns
    ]
    names.sort(key=lambda named: -len(named[0]))
    place = 0
    while place < len(words):
        for name, column in names:
            if name and tuple(words[place : place + len(name)]) == name:
                yield column
                place += len(name)
                break
        else:
            yield words[place]
            place += 1


def _singular(word: str) -> str:
    """Take a plural's ending off, so that “regions” names the column region."""
    return word[:-1] if len(word) > 3 and word.endswith("s") else word
