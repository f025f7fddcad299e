"""Two tables put together row by row where their keys are the same."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from arms.services.analyst.measures import column_of
from arms.services.analyst.tables import (
    Cell,
    Column,
    Table,
    different_names,
    plain_name,
)
from arms.services.analyst.texts import Check, in_batches
from octollm.errors import ArmInputError
from octollm.types import JSONValue

HOW = ("inner", "left", "outer")
_BATCH = 5_000

Key = tuple[Cell, ...]


@dataclass(frozen=True, kw_only=True)
class Joined:
    """Pairs of rows, counted without making them: there may be very many.

    Attributes:
        names: of the columns, those of the left table first, the key only once.
        pairs: numbers of rows counted from 0; ``None`` where a table has no partner.
        pair_count: how many pairs there are.
        only_left_count: rows of the left table without a partner.
    """

    names: tuple[str, ...]
    left: tuple[Column, ...]
    right: tuple[Column, ...]
    keys: tuple[tuple[Column, Column], ...]
    pairs: Iterator[tuple[int | None, int | None]]
    pair_count: int
    matched_count: int
    only_left_count: int
    only_right_count: int

    def rows(self) -> Iterator[list[JSONValue]]:
        """Yield the joined rows; cells as they came."""
        keys = {one.name: other for one, other in self.keys}
        for one, other in self.pairs:
            yield [
                (
                    _given(column, one)
                    if one is not None or column.name not in keys
                    else _given(keys[column.name], other)
                )
                for column in self.left
            ] + [_given(column, other) for column in self.right]


def read_on(left: Table, right: Table, wanted: Sequence[str]) -> tuple[str, ...]:
    """Return the columns to join by: those given, else those both tables have.

    Raises:
        ArmInputError: there is no such column, or the tables share none.
    """
    if wanted:
        for name in wanted:
            column_of(right, name)
        return tuple(dict.fromkeys(column_of(left, name).name for name in wanted))
    shared = {plain_name(column.name) for column in right.columns}
    on = tuple(c.name for c in left.columns if plain_name(c.name) in shared)
    if not on:
        raise ArmInputError("The tables share no column: name the key with “on”.")
    return on


def join(
    left: Table, right: Table, on: Sequence[str], *, how: str, check: Check
) -> Joined:
    """Join two tables; rows whose key has a missing cell have no partner.

    Args:
        left: its rows give the order.
        right: its columns stand behind those of the left.
        on: columns of both.
        how: ``inner`` keeps pairs, ``left`` also the left rows without a partner,
            ``outer`` those of both.
        check: asked between batches whether to go on.
    """
    keys = tuple((column_of(left, name), column_of(right, name)) for name in on)
    ours = _keys([one for one, _ in keys], left.row_count, check)
    theirs = _keys([other for _, other in keys], right.row_count, check)
    partners: defaultdict[Key, list[int]] = defaultdict(list)
    for row, key in enumerate(theirs):
        if key is not None:
            partners[key].append(row)
    matched = [0 if key is None else len(partners.get(key, ())) for key in ours]
    known = set(ours)
    lonely = [row for row, key in enumerate(theirs) if key is None or key not in known]
    taken = {other.name for _, other in keys}
    further = tuple(column for column in right.columns if column.name not in taken)
    only_left = matched.count(0)
    return Joined(
        names=tuple(different_names(c.name for c in (*left.columns, *further))),
        left=left.columns,
        right=further,
        keys=keys,
        pairs=_pairs(ours, partners, lonely if how == "outer" else [], how=how),
        pair_count=sum(matched)
        + only_left * (how != "inner")
        + len(lonely) * (how == "outer"),
        matched_count=sum(matched),
        only_left_count=only_left,
        only_right_count=len(lonely),
    )


def _pairs(
    keys: Sequence[Key | None],
    partners: dict[Key, list[int]],
    lonely: Sequence[int],
    *,
    how: str,
) -> Iterator[tuple[int | None, int | None]]:
    for row, key in enumerate(keys):
        found = partners.get(key, []) if key is not None else []
        for other in found:
            yield row, other
        if not found and how != "inner":
            yield row, None
    for other in lonely:
        yield None, other


def _keys(columns: Sequence[Column], count: int, check: Check) -> list[Key | None]:
    """Return the key of each row, nothing where a cell of it is missing."""
    keys: list[Key | None] = []
    for row in in_batches(range(count), check=check, size=_BATCH):
        key = tuple(column.cells[row] for column in columns)
        keys.append(None if None in key else key)
    return keys


def _given(column: Column, row: int | None) -> JSONValue:
    return None if row is None else column.given[row]
