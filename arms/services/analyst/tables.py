"""Reading tables: CSV, lists of objects, columns with rows; cells as they are meant."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeGuard

from octollm.errors import ArmInputError, MissingInputError
from octollm.storable import why_not_storable
from octollm.types import JSONValue

MAX_CELLS = 5_000_000
MAX_CHARACTERS = 20_000_000
_DELIMITERS = ",;\t|"
_MISSING = frozenset({"", "na", "n/a", "nan", "null", "none", "-", "?"})
# 007 is a code, a postal one perhaps: as a number it would lose what it says.
_NUMBER = re.compile(
    r"(?=[-+]?\.?\d)(?![-+]?0\d)[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?:[eE][-+]?\d{1,3})?",
    re.ASCII,
)
_CURRENCY = "$€£¥"
# What JSON writes as the same number, and a double keeps to the last digit.
_PLAIN_NUMBER = re.compile(r"-?(?:0|[1-9]\d{0,14})(?:\.\d{1,14})?", re.ASCII)
_EXACT_DIGITS = 15

Cell = str | float | bool | None


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column: its name and its cells from top to bottom, missing ones ``None``.

    Attributes:
        given: the cells as they came, before their meaning was read.
    """

    name: str
    cells: tuple[Cell, ...]
    given: tuple[JSONValue, ...]

    @property
    def present(self) -> list[Cell]:
        """Return the cells that are not missing."""
        return [cell for cell in self.cells if cell is not None]

    @property
    def numbers(self) -> list[float]:
        """Return the cells that are numbers."""
        return [cell for cell in self.cells if is_number(cell)]

    @property
    def type(self) -> str:
        """Return number, boolean, text, or empty; mixed columns are text."""
        present = self.present
        if not present:
            return "empty"
        if all(is_number(cell) for cell in present):
            return "number"
        return "boolean" if all(isinstance(c, bool) for c in present) else "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table.

    Attributes:
        remarks: what had to be left out or guessed, one sentence each.
    """

    columns: tuple[Column, ...]
    row_count: int
    remarks: tuple[str, ...] = ()

    @property
    def coverage(self) -> float:
        """Share of the cells that are not missing."""
        total = self.row_count * len(self.columns)
        return sum(len(column.present) for column in self.columns) / total

    def find(self, name: str) -> Column | None:
        """Return the column of that name, whatever its case and underscores."""
        wanted = plain_name(name)
        return next((c for c in self.columns if plain_name(c.name) == wanted), None)


def plain_name(name: str) -> str:
    """Return a column's name as names are compared."""
    return " ".join(re.findall(r"[^\W_]+", name.casefold()))


def read_table(value: JSONValue, *, name: str = "table") -> Table:
    """Return the table in CSV or JSON text, a list of objects, or columns and rows.

    Args:
        value: what came in.
        name: the input's key, for messages.

    Raises:
        MissingInputError: there is no row.
        ArmInputError: it is no table, or it is too large.
    """
    if isinstance(value, str):
        value = _from_text(value)
    if isinstance(value, dict) and {"columns", "rows"} <= value.keys():
        header, rows, remarks = _from_columns(value["columns"], value["rows"])
    elif isinstance(value, list):
        header, rows, remarks = _from_objects(value)
    elif not value:
        raise MissingInputError(f"There is no table to work on: supply “{name}”.")
    else:
        raise ArmInputError(
            f"“{name}” must be CSV, a list of objects, or {{columns, rows}}."
        )
    return _table(header, rows, remarks, name=name)


_Parts = tuple[list[str], list[list[JSONValue]], list[str]]


def _from_text(text: str) -> JSONValue:
    """Read JSON where the text is some, CSV otherwise."""
    if len(text) > MAX_CHARACTERS:
        raise ArmInputError(f"“table” exceeds {MAX_CHARACTERS:,} characters.")
    stripped = text.strip().removeprefix("\ufeff")
    if stripped.startswith(("[", "{")):
        try:
            parsed: JSONValue = json.loads(stripped)
        except (ValueError, RecursionError):
            pass
        else:
            if why := why_not_storable(parsed):
                raise ArmInputError(f"“table” cannot be worked on: {why}.")
            return parsed
    return _from_csv(stripped) if stripped else []


def _from_csv(text: str) -> JSONValue:
    """Return columns and rows; the delimiter is the one the first line has most."""
    first_line = text.split("\n", 1)[0]
    delimiter = max(_DELIMITERS, key=first_line.count)
    try:
        rows = [
            row for row in csv.reader(io.StringIO(text), delimiter=delimiter) if row
        ]
    except csv.Error as error:
        raise ArmInputError(f"“table” is not CSV: {error}.") from error
    header: list[JSONValue] = [name.strip() for name in rows[0]]
    return {"columns": header, "rows": [list(row) for row in rows[1:]]}


def _from_columns(columns: JSONValue, rows: JSONValue) -> _Parts:
    """Read names and lists of cells; short rows lack cells, long ones lose some."""
    if not isinstance(columns, list) or not isinstance(rows, list):
        raise ArmInputError("“columns” and “rows” must be lists.")
    header = [str(name) for name in columns]
    cut, lines = 0, []
    for row in rows:
        if not isinstance(row, list):
            raise ArmInputError("Each row must be a list of cells.")
        cut += len(row) > len(header)
        lines.append(row[: len(header)] + [None] * (len(header) - len(row)))
    remarks = [f"{cut} rows have more cells than columns; those were left out."]
    return header, lines, remarks if cut else []


def _from_objects(rows: list[JSONValue]) -> _Parts:
    """Read objects; their keys together are the columns, in order of appearance."""
    objects = [row for row in rows if isinstance(row, dict)]
    if len(objects) < len(rows):
        raise ArmInputError("Each row of “table” must be an object.")
    header = list(dict.fromkeys(key for row in objects for key in row))
    if len(header) * len(objects) > MAX_CELLS:
        raise ArmInputError(f"“table” has more than {MAX_CELLS:,} cells.")
    return header, [[row.get(key) for key in header] for row in objects], []


def _table(
    header: list[str], rows: list[list[JSONValue]], remarks: list[str], *, name: str
) -> Table:
    """Put a table together; columns get different names."""
    if not header or not rows:
        raise MissingInputError(f"The table has no rows: supply “{name}” with some.")
    if len(header) * len(rows) > MAX_CELLS:
        raise ArmInputError(f"“table” has more than {MAX_CELLS:,} cells.")
    names = different_names(header)
    if names != header:
        remarks = [*remarks, "Columns without a name of their own were given one."]
    cells = zip(*rows, strict=True)
    return Table(
        columns=tuple(
            Column(name=name, cells=_read_cells(column), given=column)
            for name, column in zip(names, cells, strict=True)
        ),
        row_count=len(rows),
        remarks=tuple(remarks),
    )


def different_names(header: Iterable[str]) -> list[str]:
    """Return the names, numbered where they repeat or are blank."""
    taken: dict[str, None] = {}
    numbers: dict[str, int] = {}
    for place, name in enumerate(header, start=1):
        wanted = candidate = name.strip() or f"column {place}"
        while candidate in taken:
            numbers[wanted] = numbers.get(wanted, 1) + 1
            candidate = f"{wanted} {numbers[wanted]}"
        taken[candidate] = None
    return list(taken)


def as_given(cell: JSONValue) -> JSONValue:
    """Return a cell for an output: as it came, plain numbers as numbers.

    “$12.50”, “007” and “N/A” stay what they are; a blank cell is null.
    """
    if isinstance(cell, float):
        return cell if math.isfinite(cell) else None
    if not isinstance(cell, str):
        return cell
    text = cell.strip()
    if _PLAIN_NUMBER.fullmatch(text) and sum(map(str.isdigit, text)) <= _EXACT_DIGITS:
        return float(text) if "." in text else int(text)
    return text or None


def _read_cells(cells: Iterable[JSONValue]) -> tuple[Cell, ...]:
    """Read what cells mean."""
    return tuple(read_cell(cell) for cell in cells)


def read_cell(cell: JSONValue) -> Cell:
    """Return a number, a truth value, a text, or ``None`` for a missing cell."""
    if cell is None or isinstance(cell, bool):
        return cell
    if isinstance(cell, int | float):
        return _finite(cell)
    if isinstance(cell, str):
        text = cell.strip()
        return None if text.casefold() in _MISSING else _number(text, otherwise=text)
    return json.dumps(cell, sort_keys=True, ensure_ascii=False)


def _number(text: str, *, otherwise: str) -> Cell:
    """Return the number that a text is; a currency in front and % behind are dropped."""
    # A text that long is no number, and its digits would take their time.
    if len(text) > 40 or not any(map(str.isdigit, text)):
        return otherwise
    bare = text.replace("\u2212", "-").lstrip(_CURRENCY).removesuffix("%").strip()
    if not _NUMBER.fullmatch(bare):
        return otherwise
    number = _finite(float(bare.replace(",", "")))
    return otherwise if number is None else number


def _finite(number: float) -> float | None:
    """Return a number that can be computed with, or ``None``."""
    try:
        as_float = float(number)
    except OverflowError:
        return None
    return as_float if math.isfinite(as_float) else None


def is_number(cell: Cell) -> TypeGuard[float]:
    """Say whether a cell is a number; truth values are none."""
    return isinstance(cell, float)
