"""The analyst's work on tables: input read, work called, outcome written down."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from arms.services.analyst import measures as measuring
from arms.services.analyst import questions, tables
from arms.services.analyst.analysis import (
    Analysis,
    Work,
    choice,
    names,
    question_of,
    remarks,
)
from arms.services.analyst.bounds import as_table
from arms.services.analyst.tables import different_names
from arms.services.analyst.texts import Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

_REASON = "Exact arithmetic; the share of the table's cells that are not missing."
_MAX_ACROSS, _MAX_DOWN = 50, 1_000
_FUNCTIONS = (*measuring.FUNCTIONS, "count")


def _describe_table(given: JSONObject, check: Check) -> Analysis:
    """Describe the columns of a table."""
    table = tables.read_table(given.get("table"))
    output: JSONObject = {
        "columns": measuring.describe(table, check=check),
        "row_count": table.row_count,
        "coverage": round(table.coverage, 4),
        "method": remarks(
            "Exact statistics of the cells that are there; stdev is the sample's.",
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=table.coverage, reason=_REASON)


def _aggregate(given: JSONObject, check: Check) -> Analysis:
    """Group and measure the rows of a table."""
    table = tables.read_table(given.get("table"))
    group_by, measures = _wanted(table, given)
    groups = measuring.group_rows(table, group_by)
    listed: list[JSONValue] = []
    for group in groups[: measuring.MAX_GROUPS]:
        check()
        listed.append(
            {
                "group": measuring.key_of(table, group_by, group),
                "count": len(group.rows),
                "measures": measuring.measure(table, group, measures),
            }
        )
    output: JSONObject = {
        "groups": listed,
        "groups_cut": len(groups) > len(listed),
        "row_count": table.row_count,
        "coverage": round(table.coverage, 4),
        "method": remarks(
            (
                f"{len(groups)} groups by {', '.join(group_by)}."
                if group_by
                else "All rows as one group; no column to group by was named."
            ),
            "Missing cells are left out of measures.",
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=table.coverage, reason=_REASON)


def _wanted(
    table: tables.Table, given: JSONObject
) -> tuple[tuple[str, ...], tuple[measuring.Measure, ...]]:
    """Return what to group by and to measure: as given, as asked, or by default."""
    question, asked = given.get("question"), given.get("measures")
    named = questions.read_question(
        table, question if isinstance(question, str) else ""
    )
    group_by = measuring.read_group_by(table, given.get("group_by")) or named.group_by
    measures = measuring.read_measures(table, asked) if asked is not None else ()
    return group_by, (
        measures or named.measures or measuring.default_measures(table, group_by)
    )


def _pivot(given: JSONObject, check: Check) -> Analysis:
    """Cross two columns: one's values become rows, the other's columns."""
    table = tables.read_table(given.get("table"))
    down, across = _axes(table, given)
    measure = _measure(table, given, (down.name, across.name))
    groups = measuring.group_rows(table, (down.name, across.name))
    check()
    heads = _most_frequent(across.cells, most=_MAX_ACROSS)
    sides = _most_frequent(down.cells, most=_MAX_DOWN)
    values: dict[tuple[tables.Cell, ...], JSONValue] = {}
    for group in groups:
        check()
        values[group.key] = _cell(table, group, measure)
    rows = [
        [_label(side), *(values.get((side, head)) for head in heads)] for side in sides
    ]
    header = [down.name, *(str(_label(head)) for head in heads)]
    count = len(set(down.cells))
    is_cut = len(heads) < len(set(across.cells))
    output = as_table(different_names(header), rows, count=count)
    output |= {
        "table_cut": output["table_cut"] or is_cut,
        "rows": down.name,
        "columns": across.name,
        "measure": measure.name if measure else "count of rows",
        "row_count": table.row_count,
        "coverage": round(table.coverage, 4),
        "method": remarks(
            f"{down.name} by {across.name}; a pair that no row has is null, and the "
            "most frequent values come first.",
            f"Only {_MAX_ACROSS} values of {across.name} are shown." if is_cut else "",
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=table.coverage, reason=_REASON)


def _axes(
    table: tables.Table, given: JSONObject
) -> tuple[tables.Column, tables.Column]:
    """Return the two columns: as given, else as the question names them.

    Raises:
        ArmInputError: nothing says which, or there is no such column.
    """
    question = question_of(given)
    wanted = [
        measuring.column_of(table, name)
        for key in ("rows", "columns")
        for name in names(given, key)[:1]
    ]
    group_by = questions.read_question(table, question).group_by
    named = [measuring.column_of(table, name) for name in group_by]
    named += questions.named_columns(table, question)
    for column in sorted(named, key=lambda column: column.type == "number"):
        if len(wanted) < 2 and column.name not in [each.name for each in wanted]:
            wanted.append(column)
    if len(wanted) < 2:
        raise ArmInputError("Name two columns to cross, with “rows” and “columns”.")
    return wanted[0], wanted[1]


def _measure(
    table: tables.Table, given: JSONObject, axes: tuple[str, str]
) -> measuring.Measure | None:
    """Return what fills the cells; the rows are counted if nothing says so."""
    question = question_of(given)
    asked = questions.asked_function(question)
    function = choice(given, "function", _FUNCTIONS, default=asked or "sum")
    value = [measuring.column_of(table, name) for name in names(given, "value")]
    if not value and asked:
        value = [
            column
            for column in questions.named_columns(table, question)
            if column.type == "number" and column.name not in axes
        ]
    return measuring.Measure(column=value[0].name, function=function) if value else None


def _cell(
    table: tables.Table, group: measuring.Group, measure: measuring.Measure | None
) -> JSONValue:
    if measure is None:
        return len(group.rows)
    return measuring.measure(table, group, (measure,))[measure.name]


def _most_frequent(cells: Sequence[tables.Cell], *, most: int) -> list[tables.Cell]:
    """Return the values, the most frequent first; equally frequent as they come."""
    return [value for value, _ in Counter(cells).most_common(most)]


def _label(cell: tables.Cell) -> JSONValue:
    return "(missing)" if cell is None else measuring.short(cell)


TABLE_WORK: Mapping[str, Work] = {
    "describe_table": _describe_table,
    "aggregate": _aggregate,
    "pivot": _pivot,
}
