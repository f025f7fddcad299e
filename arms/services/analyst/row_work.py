"""The analyst's work on the rows of tables: choose, order, join, write otherwise."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from arms.services.analyst import conditions, joining, ordering, tables, writing
from arms.services.analyst.analysis import (
    Analysis,
    Work,
    choice,
    names,
    question_of,
    remarks,
)
from arms.services.analyst.bounds import MAX_OUTPUT_CHARACTERS, as_table, fitting
from arms.services.analyst.measures import column_of
from arms.services.analyst.tables import Table
from arms.services.analyst.texts import MAX_ITEMS, Check, in_batches
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

_EXACT = "Exact, as the method defines it."
_BATCH = 5_000
# “Convert the CSV to JSON” names what there is as well.
_TARGET = re.compile(
    rf"\b(?:to|into|as) (?:an? )?({'|'.join(writing.FORMATS)})\b", re.I
)


def _filter_rows(given: JSONObject, check: Check) -> Analysis:
    """Keep the rows that meet conditions."""
    table = tables.read_table(given.get("table"))
    wanted = _conditions(table, given)
    is_all = choice(given, "match", ("all", "any"), default="all") == "all"
    hits = []
    for condition in wanted:
        check()
        hits.append(conditions.matching(condition))
    meets = all if is_all else any
    kept = [row for row, each in enumerate(zip(*hits, strict=True)) if meets(each)]
    joined = (" and " if is_all else " or ").join(each.words for each in wanted)
    output = _chosen(table, kept, check) | {
        "kept_count": len(kept),
        "left_out_count": table.row_count - len(kept),
        "method": remarks(
            f"Rows with {joined}.",
            "Texts are compared without case; larger and smaller are said of numbers "
            "and dates, and a missing cell is neither.",
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _conditions(table: Table, given: JSONObject) -> list[conditions.Condition]:
    where = given.get("where")
    if where is not None and where != []:
        return conditions.read_conditions(table, where)
    found = conditions.asked_conditions(table, question_of(given))
    if not found:
        known = ", ".join(column.name[:100] for column in table.columns[:20])
        raise ArmInputError(
            "No condition was understood: give “where” as "
            f"[{{column, operator, value}}] with columns of {known}."
        )
    return found


def _sort_rows(given: JSONObject, check: Check) -> Analysis:
    """Put rows in order, and take the first if so asked."""
    table = tables.read_table(given.get("table"))
    wanted = ordering.read_ordering(table, given)
    rows = ordering.sorted_rows(table, wanted, check=check)[: wanted.limit]
    by: list[JSONValue] = [column.name for column in wanted.columns]
    output = _chosen(table, rows, check) | {
        "by": by,
        "order": wanted.order,
        "method": remarks(
            f"{len(rows)} of {table.row_count} rows by {', '.join(map(str, by))}, "
            f"{wanted.order}; missing cells last, equal rows in their order.",
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _deduplicate_rows(given: JSONObject, check: Check) -> Analysis:
    """Keep the first of rows that are the same."""
    table = tables.read_table(given.get("table"))
    asked = [column_of(table, name) for name in names(given, "columns")]
    columns = asked or list(table.columns)
    groups: defaultdict[tuple[tables.Cell, ...], list[int]] = defaultdict(list)
    for row in in_batches(range(table.row_count), check=check, size=_BATCH):
        groups[tuple(_form(column.cells[row]) for column in columns)].append(row)
    repeated = [rows for rows in groups.values() if len(rows) > 1]
    listed: list[JSONValue] = [
        {"kept": rows[0] + 1, "duplicates": [row + 1 for row in rows[1:MAX_ITEMS]]}
        for rows in repeated
    ]
    shown: list[JSONValue] = list(fitting(listed, most=MAX_ITEMS))
    what = ", ".join(column.name for column in asked) if asked else "all columns"
    output = _chosen(table, [rows[0] for rows in groups.values()], check) | {
        "groups": shown,
        "groups_cut": len(shown) < len(listed)
        or any(len(rows) > MAX_ITEMS for rows in repeated),
        "kept_count": len(groups),
        "duplicate_count": table.row_count - len(groups),
        "method": remarks(
            f"Rows are the same when {what} are, without case and spacing; "
            "the first is kept. Rows are counted from 1, without the header.",
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _form(cell: tables.Cell) -> tables.Cell:
    """Return what makes two cells the same."""
    return " ".join(cell.casefold().split()) if isinstance(cell, str) else cell


def _join(given: JSONObject, check: Check) -> Analysis:
    """Join two tables by a key."""
    left = tables.read_table(given.get("left"), name="left")
    right = tables.read_table(given.get("right"), name="right")
    how = choice(given, "how", joining.HOW, default="inner")
    on = joining.read_on(left, right, names(given, "on"))
    found = joining.join(left, right, on, how=how, check=check)
    output = as_table(found.names, found.rows(), count=found.pair_count) | {
        "on": list(on),
        "matched_count": found.matched_count,
        "only_left_count": found.only_left_count,
        "only_right_count": found.only_right_count,
        "coverage": round(1 - found.only_left_count / left.row_count, 4),
        "method": remarks(
            f"{how.capitalize()} join by {', '.join(on)}: {found.pair_count} rows; "
            "keys are the same to the letter, numbers by value, and a missing key "
            "has no partner.",
            *left.remarks,
            *right.remarks,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _convert(given: JSONObject, check: Check) -> Analysis:
    """Write a table in another form."""
    table = tables.read_table(given.get("table"))
    target = choice(given, "to", writing.FORMATS, default=_asked_format(given))
    check()
    lines = fitting(writing.WRITERS[target](table), most=table.row_count + 2)
    text = writing.ENDS[target].join(lines)
    is_cut = len(lines) < table.row_count + writing.HEADERS[target]
    if target == "json":
        text = f"[{text}]"
    output: JSONObject = {
        "text": text,
        "format": target,
        "text_cut": is_cut,
        "row_count": table.row_count,
        "coverage": round(table.coverage, 4),
        "method": remarks(
            f"{table.row_count} rows written as {target}; cells as they came, plain "
            "numbers as numbers.",
            (
                f"The text was cut near {MAX_OUTPUT_CHARACTERS:,} characters."
                if is_cut
                else ""
            ),
            *table.remarks,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _asked_format(given: JSONObject) -> str:
    """Return the format that the question asks for, JSON if it names none."""
    named = _TARGET.search(question_of(given))
    return named[1].casefold() if named else "json"


def _chosen(table: Table, rows: Sequence[int], check: Check) -> JSONObject:
    """Return the part of an output that every choice of rows has."""
    header = [column.name for column in table.columns]
    batches = in_batches(rows, check=check, size=_BATCH)
    return as_table(header, _rows(table, batches), count=len(rows)) | {
        "row_count": table.row_count,
        "coverage": round(table.coverage, 4),
    }


def _rows(table: Table, numbers: Iterable[int]) -> Iterator[list[JSONValue]]:
    return ([column.given[row] for column in table.columns] for row in numbers)


ROW_WORK: Mapping[str, Work] = {
    "filter_rows": _filter_rows,
    "sort_rows": _sort_rows,
    "deduplicate_rows": _deduplicate_rows,
    "join": _join,
    "convert": _convert,
}
