"""What can be computed of a table: columns described, rows grouped and measured."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from arms.services.analyst.tables import Cell, Column, Table
from arms.services.analyst.texts import Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

MAX_GROUPS = 1_000
_TOP_VALUES = 5
_LONGEST_VALUE = 100
_EXACT = 2**53  # beyond it a double skips integers


def _stdev(numbers: list[float]) -> float | None:
    """Return the sample's standard deviation; one number has none."""
    if len(numbers) < 2:
        return None
    mean = statistics.fmean(numbers)
    squares = math.fsum((number - mean) ** 2 for number in numbers)
    return math.sqrt(squares / (len(numbers) - 1))


FUNCTIONS: Mapping[str, Callable[[list[float]], float | None]] = {
    "sum": math.fsum,
    "mean": statistics.fmean,
    "median": statistics.median,
    "min": min,
    "max": max,
}
_DESCRIBING = {**FUNCTIONS, "stdev": _stdev}


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A function over a column: sum, mean, median, min, max or count."""

    column: str
    function: str

    @property
    def name(self) -> str:
        """Return what the measure is called."""
        return f"{self.function} of {self.column}"


@dataclass(frozen=True, kw_only=True)
class Group:
    """Rows that are alike in the columns they are grouped by."""

    key: tuple[Cell, ...]
    rows: tuple[int, ...]


def describe(table: Table, *, check: Check) -> list[JSONValue]:
    """Return one object per column, in order."""
    described: list[JSONValue] = []
    for column in table.columns:
        check()
        described.append(_described(column))
    return described


def _described(column: Column) -> JSONObject:
    """Describe one column by its type."""
    present = column.present
    fields: JSONObject = {
        "name": column.name,
        "type": column.type,
        "count": len(present),
        "missing": len(column.cells) - len(present),
        "distinct": len(set(present)),
    }
    if column.type == "number":
        return fields | {name: computed(name, column.numbers) for name in _DESCRIBING}
    most = Counter(present).most_common(_TOP_VALUES)
    top: list[JSONValue] = [
        {"value": short(value), "count": count} for value, count in most
    ]
    return fields | {"top": top, "number_count": len(column.numbers)}


def computed(function: str, numbers: list[float]) -> float | None:
    """Apply sum, mean, median, min, max or stdev; of no numbers there is none.

    Raises:
        ArmInputError: the numbers are too large to compute with.
    """
    if not numbers:
        return None
    try:
        value = _DESCRIBING[function](numbers)
    except OverflowError as error:
        raise ArmInputError(
            f"The numbers are too large for their {function}."
        ) from error
    return None if value is None else tidy(value)


def tidy(number: float) -> float | None:
    """Return a result without the noise of its last digits; ``None`` for infinity."""
    return float(f"{number:.12g}") if math.isfinite(number) else None


def measure(table: Table, group: Group, measures: tuple[Measure, ...]) -> JSONObject:
    """Return the measures of a group; what there are no numbers for is null."""
    values: JSONObject = {}
    for each in measures:
        column = table.find(each.column)
        cells = [column.cells[row] for row in group.rows] if column else []
        if each.function == "count":
            values[each.name] = sum(cell is not None for cell in cells)
        else:
            numbers = [cell for cell in cells if isinstance(cell, float)]
            values[each.name] = computed(each.function, numbers)
    return values


def group_rows(table: Table, names: tuple[str, ...]) -> list[Group]:
    """Return the groups, the largest first; without names all rows are one.

    Raises:
        ArmInputError: there is no such column.
    """
    columns = [column_of(table, name) for name in names]
    rows: defaultdict[tuple[Cell, ...], list[int]] = defaultdict(list)
    for row in range(table.row_count):
        rows[tuple(column.cells[row] for column in columns)].append(row)
    groups = [Group(key=key, rows=tuple(members)) for key, members in rows.items()]
    return sorted(groups, key=lambda group: (-len(group.rows), group.rows[0]))


def key_of(table: Table, names: tuple[str, ...], group: Group) -> JSONObject:
    """Return the values that a group's rows have in common, by column."""
    columns = [column_of(table, name) for name in names]
    return {
        column.name: short(value)
        for column, value in zip(columns, group.key, strict=True)
    }


def read_group_by(table: Table, value: JSONValue) -> tuple[str, ...]:
    """Return the names of columns in a text or a list of texts.

    Raises:
        ArmInputError: it is neither, or there is no such column.
    """
    names = [value] if isinstance(value, str) else value or []
    if not isinstance(names, list):
        raise ArmInputError("“group_by” must be a column's name or a list of them.")
    return tuple(dict.fromkeys(column_of(table, str(name)).name for name in names))


def read_measures(table: Table, value: JSONValue) -> tuple[Measure, ...]:
    """Return the measures in a list of objects with column and function.

    Raises:
        ArmInputError: one of them is not known, or there is no such column.
    """
    if not isinstance(value, list):
        raise ArmInputError("“measures” must be a list of {column, function}.")
    found = []
    for each in value:
        column = each.get("column") if isinstance(each, dict) else None
        function = each.get("function") if isinstance(each, dict) else None
        if function not in (*FUNCTIONS, "count") or not isinstance(column, str):
            known = ", ".join((*FUNCTIONS, "count"))
            raise ArmInputError(f"A measure needs a column and a function of {known}.")
        found.append(
            Measure(column=column_of(table, column).name, function=str(function))
        )
    return tuple(found)


def default_measures(table: Table, group_by: tuple[str, ...]) -> tuple[Measure, ...]:
    """Return sum and mean of each column of numbers that does not group."""
    return tuple(
        Measure(column=column.name, function=function)
        for column in table.columns
        if column.type == "number" and column.name not in group_by
        for function in ("sum", "mean")
    )


def column_of(table: Table, name: str) -> Column:
    """Return the column of that name.

    Raises:
        ArmInputError: there is none; names those there are.
    """
    column = table.find(name)
    if column is None:
        names = ", ".join(short_text(each.name) for each in table.columns[:20])
        raise ArmInputError(f"There is no column “{short_text(name)}”: {names}.")
    return column


def short(value: Cell) -> JSONValue:
    """Return a cell as it is shown: a year as 2024, not as 2024.0."""
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return int(value)
    return short_text(value) if isinstance(value, str) else value


def short_text(text: str) -> str:
    """Cut a long text."""
    return text if len(text) <= _LONGEST_VALUE else text[: _LONGEST_VALUE - 1] + "…"
