"""The analyst's work on tables: input read, work called, outcome written down."""

from __future__ import annotations

from collections.abc import Mapping

from arms.services.analyst import measures as measuring
from arms.services.analyst import questions, tables
from arms.services.analyst.analysis import Analysis, Work, remarks
from arms.services.analyst.texts import Check
from octollm.types import JSONObject, JSONValue

_REASON = "Exact arithmetic; the share of the table's cells that are not missing."


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


TABLE_WORK: Mapping[str, Work] = {
    "describe_table": _describe_table,
    "aggregate": _aggregate,
}
