"""What is wrong with a table: gaps, strangers in a column, repeated rows and ids."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from arms.services.analyst.tables import Cell, Column, Table, plain_name
from arms.services.analyst.texts import Check, in_batches
from octollm.types import JSONObject, JSONValue

MAX_ROWS_SHOWN = 20
# So many of the cells that are there have to be numbers, for the others to be odd.
_MOSTLY = 0.8
_BATCH = 5_000


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One kind of problem in one column, and the rows it is in, counted from 1.

    Attributes:
        column: its name, or empty for whole rows.
    """

    problem: str
    column: str
    rows: tuple[int, ...]

    def as_json(self) -> JSONObject:
        """Return the form of the catalogue; of the rows only the first are named."""
        rows: list[JSONValue] = list(self.rows[:MAX_ROWS_SHOWN])
        return {
            "problem": self.problem,
            "column": self.column,
            "count": len(self.rows),
            "rows": rows,
        }


def find_problems(table: Table, *, check: Check) -> list[Problem]:
    """Return all problems, column by column, then those of whole rows."""
    found = []
    for column in table.columns:
        check()
        for problem, rows_of in _FINDERS.items():
            rows = tuple(row + 1 for row in rows_of(column))
            if rows:
                found.append(Problem(problem=problem, column=column.name, rows=rows))
    repeated = tuple(row + 1 for row in _repeated_rows(table, check))
    if repeated:
        found.append(Problem(problem="repeated row", column="", rows=repeated))
    return found


def _missing(column: Column) -> Iterator[int]:
    return (row for row, cell in enumerate(column.cells) if cell is None)


def _not_numbers(column: Column) -> Iterator[int]:
    """Yield the texts in a column that is mostly numbers."""
    numbers, present = len(column.numbers), len(column.present)
    if numbers == present or numbers < _MOSTLY * present:
        return iter(())
    return (
        row
        for row, cell in enumerate(column.cells)
        if cell is not None and not isinstance(cell, float)
    )


def _other_spellings(column: Column) -> Iterator[int]:
    """Yield the rarer ones of texts that differ in case and spacing only."""
    forms: defaultdict[str, defaultdict[str, list[int]]]
    forms = defaultdict(lambda: defaultdict(list))
    for row, cell in enumerate(column.cells):
        if isinstance(cell, str):
            forms[" ".join(cell.casefold().split())][cell].append(row)
    rarer = [
        row
        for spellings in forms.values()
        if len(spellings) > 1
        for rows in sorted(spellings.values(), key=len, reverse=True)[1:]
        for row in rows
    ]
    return iter(sorted(rarer))


def _repeated_ids(column: Column) -> Iterator[int]:
    """Yield what stands again in a column that is named as an identifier."""
    if "id" not in plain_name(column.name).split():
        return
    seen: set[Cell] = set()
    for row, cell in enumerate(column.cells):
        if cell is not None and cell in seen:
            yield row
        seen.add(cell)


def _repeated_rows(table: Table, check: Check) -> Iterator[int]:
    seen: set[tuple[Cell, ...]] = set()
    for row in in_batches(range(table.row_count), check=check, size=_BATCH):
        cells = tuple(column.cells[row] for column in table.columns)
        if cells in seen:
            yield row
        seen.add(cells)


_FINDERS: Mapping[str, Callable[[Column], Iterator[int]]] = {
    "missing value": _missing,
    "not a number": _not_numbers,
    "other spelling": _other_spellings,
    "repeated identifier": _repeated_ids,
}
PROBLEMS = (*_FINDERS, "repeated row")
