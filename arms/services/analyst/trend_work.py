"""The analyst's work on a table over time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from arms.services.analyst import dates, measures, relations
from arms.services.analyst.analysis import (
    Analysis,
    Work,
    choice,
    names,
    question_of,
    remarks,
)
from arms.services.analyst.questions import asked_function, named_columns
from arms.services.analyst.tables import Column, Table, plain_name, read_table
from arms.services.analyst.texts import MAX_ITEMS, Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject

_FUNCTIONS = (*measures.FUNCTIONS, "count")
_PERIOD_WORDS = {
    word: period
    for period, words in {
        "day": "day days daily",
        "week": "week weeks weekly",
        "month": "month months monthly",
        "quarter": "quarter quarters quarterly",
        "year": "year years yearly annual annually",
    }.items()
    for word in words.split()
}


def _trend(given: JSONObject, check: Check) -> Analysis:
    """Follow a column over time."""
    table = read_table(given.get("table"))
    when, days = _dates_of(table, given, check)
    column, function = _measured(table, given, when)
    known = [day for day in days if day is not None]
    period = choice(given, "period", dates.PERIODS, default=_asked_period(given, known))
    check()
    cells = column.cells if column else (None,) * table.row_count
    points = relations.over_time(days, cells, period=period, function=function)
    line = relations.trend_of(points)
    share = len(known) / table.row_count
    output: JSONObject = {
        "periods": [
            {"period": each.period, "count": each.count, "value": each.value}
            for each in points[:MAX_ITEMS]
        ],
        "periods_cut": len(points) > MAX_ITEMS,
        "value": f"{function} of {column.name}" if column else "count of rows",
        "period": period,
        "slope": None if line.slope is None else measures.tidy(line.slope),
        "direction": line.direction,
        **_change(points),
        "coverage": round(share, 4),
        "row_count": table.row_count,
        "method": remarks(
            f"By {period} of {when.name}; the slope is the change per {period} of a "
            "straight line by least squares, flat if it changes by at most 5 % of the "
            "mean level. Periods without rows are left out.",
            (
                f"{table.row_count - len(known)} of {table.row_count} rows have no date "
                "that can be read in one way."
                if share < 1
                else ""
            ),
            *table.remarks,
        ),
    }
    reason = "The share of the rows that have a date."
    return Analysis(output=output, confidence=share, reason=reason)


def _change(points: list[relations.Point]) -> JSONObject:
    """Return how much the last value differs from the first."""
    values = [point.value for point in points if point.value is not None]
    if len(values) < 2:
        return {"change": None, "change_share": None}
    change = values[-1] - values[0]
    share = measures.tidy(change / abs(values[0])) if values[0] else None
    return {"change": measures.tidy(change), "change_share": share}


def _dates_of(
    table: Table, given: JSONObject, check: Check
) -> tuple[Column, list[date | None]]:
    """Return the column of dates that is given, or named, or the first; and its days.

    Raises:
        ArmInputError: the column holds no dates, or there is none.
    """
    wanted = [measures.column_of(table, name) for name in names(given, "date")][:1]
    named = named_columns(table, question_of(given))
    for column in wanted or (*named, *table.columns):
        check()
        days = dates.read_dates(column.cells)
        if sum(day is not None for day in days) * 2 > len(column.present) > 0:
            return column, days
    raise ArmInputError(
        "There is no column of dates: name one with “date”; most of its cells must "
        "be dates, months, quarters or years."
    )


def _measured(
    table: Table, given: JSONObject, when: Column
) -> tuple[Column | None, str]:
    """Return the column to measure and by what: given, or named, or the first.

    Without a column of numbers the rows are counted.

    Raises:
        ArmInputError: the given column holds no numbers.
    """
    asked = asked_function(question_of(given)) or "sum"
    function = choice(given, "function", _FUNCTIONS, default=asked)
    wanted = [measures.column_of(table, name) for name in names(given, "value")]
    numbers = [
        column
        for column in (*named_columns(table, question_of(given)), *table.columns)
        if column.type == "number" and column.name != when.name
    ]
    column = next(iter(wanted or numbers), None)
    if column is None or function == "count" or (not wanted and _asks_for_rows(given)):
        return None, "count"
    if not column.numbers:
        raise ArmInputError(f"The column “{column.name[:100]}” holds no numbers.")
    return column, function


def _asks_for_rows(given: JSONObject) -> bool:
    """Tell whether a question is “how many”."""
    words = plain_name(question_of(given)).split()
    return "function" not in given and bool({"many", "count", "number"} & set(words))


def _asked_period(given: JSONObject, days: list[date]) -> str:
    words = plain_name(question_of(given)).split()
    named = (_PERIOD_WORDS[word] for word in words if word in _PERIOD_WORDS)
    return next(named, relations.usual_period(days))


TREND_WORK: Mapping[str, Work] = {"trend": _trend}
