"""Tables written as text: CSV, JSON rows, Markdown."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from arms.services.analyst.tables import Table, as_given
from octollm.types import JSONValue

FORMATS = ("csv", "json", "markdown")


def _csv_lines(table: Table) -> Iterator[str]:
    yield _csv_line([column.name for column in table.columns])
    for row in _rows(table):
        yield _csv_line([_cell_text(cell) for cell in row])


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="").writerow(cells)
    return line.getvalue()


def _json_lines(table: Table) -> Iterator[str]:
    header = [column.name for column in table.columns]
    for row in _rows(table):
        cells = [as_given(cell) for cell in row]
        yield json.dumps(dict(zip(header, cells, strict=True)), ensure_ascii=False)


def _markdown_lines(table: Table) -> Iterator[str]:
    yield _markdown_line([column.name for column in table.columns])
    yield _markdown_line(
        ["---:" if column.type == "number" else "---" for column in table.columns]
    )
    for row in _rows(table):
        yield _markdown_line([_cell_text(cell) for cell in row])


def _markdown_line(cells: Iterable[str]) -> str:
    escaped = (
        " ".join(cell.replace("\\", "\\\\").replace("|", "\\|").split())
        for cell in cells
    )
    return f"| {' | '.join(escaped)} |"


def _cell_text(cell: JSONValue) -> str:
    value = as_given(cell)
    if value is None:
        return ""
    # What came as text is written as it came: “10.50” keeps its cent.
    if isinstance(cell, str):
        return cell.strip()
    return json.dumps(value, ensure_ascii=False)


WRITERS: Mapping[str, Callable[[Table], Iterator[str]]] = {
    "csv": _csv_lines,
    "json": _json_lines,
    "markdown": _markdown_lines,
}
#: What stands between two lines.
ENDS = {"csv": "\n", "json": ",\n", "markdown": "\n"}
#: How many lines stand before the first row.
HEADERS = {"csv": 1, "json": 0, "markdown": 2}


def _rows(table: Table) -> Iterator[list[JSONValue]]:
    return (
        [column.given[row] for column in table.columns]
        for row in range(table.row_count)
    )
