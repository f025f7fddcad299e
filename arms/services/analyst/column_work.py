"""The analyst's work on the columns of tables: spread, relations, quality."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations

from arms.services.analyst import measures, quality, relations, spread
from arms.services.analyst.analysis import (
    Analysis,
    Work,
    choice,
    names,
    question_of,
    remarks,
    whole_number,
)
from arms.services.analyst.bounds import fitting
from arms.services.analyst.questions import named_columns
from arms.services.analyst.tables import Column, Table, as_given, read_table
from arms.services.analyst.texts import MAX_ITEMS, Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

_REASON = "Exact arithmetic; the share of the table's cells that are not missing."
#: More columns make too many pairs.
_MAX_COLUMNS = 30


def _outliers(given: JSONObject, check: Check) -> Analysis:
    """Find the numbers that lie far from the rest of their column."""
    table = read_table(given.get("table"))
    rule = choice(given, "rule", spread.RULES, default="iqr")
    columns: list[JSONValue] = []
    found: list[JSONValue] = []
    for column in _numeric(table, given):
        check()
        fences = spread.fences(column.numbers, rule=rule)
        beyond = spread.outliers(column, fences) if fences else []
        columns.append(
            {
                "name": column.name,
                "count": len(column.numbers),
                "low": measures.tidy(fences.low) if fences else None,
                "high": measures.tidy(fences.high) if fences else None,
                "outlier_count": len(beyond),
            }
        )
        found += [
            {"row": row + 1, "column": column.name, "value": as_given(number)}
            for row, number in beyond
        ]
    output: JSONObject = {
        "columns": columns,
        "outliers": found[:MAX_ITEMS],
        "outliers_cut": len(found) > MAX_ITEMS,
        "count": len(found),
        "method": remarks(_OUTLIER_METHODS[rule], *table.remarks),
    }
    return _of_table(table, output)


_OUTLIER_METHODS = {
    "iqr": "Outliers lie more than 1.5 times the distance of the quartiles beyond "
    "them (Tukey); a column of fewer than 5 numbers is not judged. Rows are counted "
    "from 1, without the header.",
    "mad": "Outliers have a modified z-score above 3.5, from the median and the median "
    "absolute deviation (Iglewicz and Hoaglin); a column of fewer than 5 numbers, or "
    "of which half are the same, is not judged. Rows are counted from 1, without the "
    "header.",
}


def _distribution(given: JSONObject, check: Check) -> Analysis:
    """Return percentiles and a histogram of each column of numbers."""
    table = read_table(given.get("table"))
    columns: list[JSONValue] = []
    for column in _numeric(table, given):
        check()
        numbers = column.numbers
        count = whole_number(
            given,
            "bins",
            default=spread.usual_bin_count(len(numbers)),
            most=spread.MAX_BINS,
        )
        columns.append(
            {
                "name": column.name,
                "count": len(numbers),
                "min": min(numbers),
                "max": max(numbers),
                "percentiles": spread.percentiles(numbers),
                "bins": spread.bins(numbers, count=count),
            }
        )
    output: JSONObject = {
        "columns": columns,
        "method": remarks(
            "Percentiles are interpolated between neighbours; bins are equally wide, "
            "hold their low end, and the last one both ends.",
            *table.remarks,
        ),
    }
    return _of_table(table, output)


def _correlate(given: JSONObject, check: Check) -> Analysis:
    """Correlate the columns of numbers by pairs."""
    table = read_table(given.get("table"))
    rule = choice(given, "rule", relations.RULES, default="pearson")
    columns = _numeric(table, given, least=2)
    pairs: list[JSONObject] = []
    for one, other in combinations(columns[:_MAX_COLUMNS], 2):
        check()
        coefficient, count = relations.correlation(one, other, rule=rule)
        shown = None if coefficient is None else round(coefficient, 4)
        pairs.append(
            {"a": one.name, "b": other.name, "coefficient": shown, "count": count}
        )
    pairs.sort(key=_weakness)
    listed: list[JSONValue] = list(pairs)
    best = pairs[0] if pairs[0]["coefficient"] is not None else None
    output: JSONObject = {
        "pairs": listed,
        "pairs_cut": len(columns) > _MAX_COLUMNS,
        "strongest": best,
        "method": remarks(
            f"{rule.capitalize()} coefficients of rows in which both are numbers, the "
            "strongest first; fewer than 3 rows and constant columns have none. "
            "It says nothing of causes.",
            *table.remarks,
        ),
    }
    return _of_table(table, output)


def _weakness(pair: JSONObject) -> float:
    coefficient = pair["coefficient"]
    return -abs(coefficient) if isinstance(coefficient, float) else 1.0


def _check_table(given: JSONObject, check: Check) -> Analysis:
    """Look for what is wrong with a table."""
    table = read_table(given.get("table"))
    problems = quality.find_problems(table, check=check)
    listed: list[JSONValue] = [problem.as_json() for problem in problems]
    shown: list[JSONValue] = list(fitting(listed, most=MAX_ITEMS))
    repeated = [p for p in problems if p.problem == quality.PROBLEMS[-1]]
    output: JSONObject = {
        "is_clean": not problems,
        "problems": shown,
        "problems_cut": len(shown) < len(listed),
        "missing_count": sum(c.cells.count(None) for c in table.columns),
        "duplicate_count": sum(len(problem.rows) for problem in repeated),
        "column_count": len(table.columns),
        "method": remarks(
            f"Looked for: {', '.join(quality.PROBLEMS)}. A column is taken for numbers "
            "if 80 % of its cells are; at most 20 rows are named per problem, counted "
            "from 1 without the header.",
            *table.remarks,
        ),
    }
    return _of_table(table, output)


def _numeric(table: Table, given: JSONObject, *, least: int = 1) -> list[Column]:
    """Return the columns of numbers that are given, or named, or all of them.

    Raises:
        ArmInputError: a given one has no numbers, or there are fewer than ``least``.
    """
    wanted = [measures.column_of(table, name) for name in names(given, "columns")]
    bare = [column.name for column in wanted if not column.numbers]
    if bare:
        raise ArmInputError(f"The column “{bare[0][:100]}” holds no numbers.")
    numeric = [column for column in table.columns if column.type == "number"]
    asked = named_columns(table, question_of(given))
    named = [column for column in asked if column.type == "number"]
    columns = wanted or (named if len(named) >= least else numeric)
    if len(columns) < least:
        raise ArmInputError(
            f"The table has {len(columns)} columns of numbers; {least} are needed."
        )
    return columns


def _of_table(table: Table, output: JSONObject) -> Analysis:
    """Add what every output of a table has."""
    whole = output | {
        "row_count": table.row_count,
        "coverage": round(table.coverage, 4),
    }
    return Analysis(output=whole, confidence=table.coverage, reason=_REASON)


COLUMN_WORK: Mapping[str, Work] = {
    "outliers": _outliers,
    "distribution": _distribution,
    "correlate": _correlate,
    "check_table": _check_table,
}
