"""Dates as people write them: found in texts, and read from the cells of a column."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import date
from typing import Literal

from arms.services.analyst.tables import Cell

_MONTH_NAMES = (
    "jan january|feb february|mar march|apr april|may|jun june|jul july|"
    "aug august|sep sept september|oct october|nov november|dec december"
)
_MONTHS = {
    name: number
    for number, names in enumerate(_MONTH_NAMES.split("|"), start=1)
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATE = re.compile(
    r"\b(?:(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"|(?P<first>\d{1,2})(?P<sign>[./-])(?P<second>\d{1,2})(?P=sign)(?P<last>\d{4})"
    rf"|(?P<day_first>\d{{1,2}})(?:st|nd|rd|th)?\.? (?:of )?(?P<name>{_MONTH})\.?,? "
    r"(?P<year_after>\d{4})"
    rf"|(?P<name_first>{_MONTH})\.? (?P<day_after>\d{{1,2}})(?:st|nd|rd|th)?,? "
    r"(?P<year_last>\d{4}))\b",
    re.IGNORECASE,
)
_LONGEST = 40
# A column also writes months, quarters and years; the time of day is left out.
_PERIODS = re.compile(
    rf"(?P<year>\d{{4}})(?:[-/](?P<month>\d{{1,2}})|[- ]?q(?P<quarter>[1-4]))?"
    rf"|q(?P<quarter_first>[1-4])[- /](?P<year_after>\d{{4}})"
    rf"|(?P<name>{_MONTH})\.?[ -](?P<year_last>\d{{4}})",
    re.IGNORECASE,
)
_TIME = re.compile(r"(?:T| )\d{1,2}:\d{2}.{0,20}", re.IGNORECASE)
_FIRST_YEAR, _LAST_YEAR = 1000, 2999

Order = Literal["day", "month"]


@dataclass(frozen=True, kw_only=True)
class FoundDate:
    """A date in a text: as written, where, and in ISO 8601.

    Attributes:
        iso: ``None`` when day and month cannot be told apart.
    """

    value: str
    start: int
    end: int
    iso: str | None


def find_dates(text: str) -> Iterator[FoundDate]:
    """Find dates that name day, month and year; those that cannot be are none."""
    for match in _DATE.finditer(text):
        readings = _readings(match)
        if readings:
            only = readings[0].isoformat() if len(readings) == 1 else None
            yield FoundDate(
                value=match.group(), start=match.start(), end=match.end(), iso=only
            )


def read_dates(cells: Iterable[Cell]) -> list[date | None]:
    """Read a column: dates, months, quarters and years, as their first day.

    Where 4/5/2024 can be read in two ways, the order of the column's other dates
    decides; without any it is no date.
    """
    texts = [_plain(cell) for cell in cells]
    order = _order_of(texts)
    return [_read(text, order) for text in texts]


def _plain(cell: Cell) -> str:
    """Return what may be a date in a cell; years come as numbers."""
    if isinstance(cell, float):
        is_year = cell.is_integer() and _FIRST_YEAR <= cell <= _LAST_YEAR
        return str(int(cell)) if is_year else ""
    text = cell.strip() if isinstance(cell, str) else ""
    return _TIME.sub("", text) if len(text) <= _LONGEST else ""


def _order_of(texts: Iterable[str]) -> Order | None:
    """Return which of day and month stands first where only one reading exists."""
    votes: Counter[Order] = Counter()
    for text in texts:
        match = _DATE.fullmatch(text)
        if match is not None and match["first"]:
            first, second = int(match["first"]), int(match["second"])
            if first > 12 >= second:
                votes["day"] += 1
            elif second > 12 >= first:
                votes["month"] += 1
    return next(iter(votes)) if len(votes) == 1 else None


def _read(text: str, order: Order | None) -> date | None:
    match = _DATE.fullmatch(text)
    if match is None:
        return _first_day(text)
    readings = _readings(match)
    if len(readings) == 2 and order is not None:
        return readings[0] if order == "day" else readings[1]
    return readings[0] if len(readings) == 1 else None


def _first_day(text: str) -> date | None:
    """Return the first day of a month, quarter or year."""
    match = _PERIODS.fullmatch(text)
    if match is None:
        return None
    year = match["year"] or match["year_after"] or match["year_last"]
    quarter = match["quarter"] or match["quarter_first"]
    month = match["month"] or 1
    if quarter:
        month = 3 * int(quarter) - 2
    elif match["name"]:
        month = _MONTHS[match["name"].lower()]
    return _day(year, month, 1)


def _readings(match: re.Match[str]) -> list[date]:
    """Return the days that are meant: none, one, or day first and month first."""
    found = match.groupdict()
    if found["first"]:
        one, other, year = found["first"], found["second"], found["last"]
        readings = (_day(year, other, one), _day(year, one, other))
        return list(dict.fromkeys(day for day in readings if day is not None))
    name = found["name"] or found["name_first"]
    month = _MONTHS[name.lower()] if name else found["month"]
    day = found["day"] or found["day_first"] or found["day_after"]
    year = found["year"] or found["year_after"] or found["year_last"]
    only = _day(year, month, day)
    return [only] if only is not None else []


def _day(year: str, month: str | int, day: str | int) -> date | None:
    """Return the date, or ``None`` if the calendar has no such day."""
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return None


PERIODS = ("day", "week", "month", "quarter", "year")


def number_of(day: date, period: str) -> int:
    """Return which period a day falls in, counted so that neighbours differ by one."""
    return _NUMBERS[period](day)


def name_of(day: date, period: str) -> str:
    """Return how the period of a day is written: 2024-05-01, 2024-W18, 2024-Q2."""
    return _NAMES[period](day)


def _week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year:04}-W{week:02}"


_NUMBERS: dict[str, Callable[[date], int]] = {
    "day": lambda day: day.toordinal(),
    # Weeks begin on Monday, as in ISO 8601; the first day of all was one.
    "week": lambda day: (day.toordinal() - 1) // 7,
    "month": lambda day: day.year * 12 + day.month,
    "quarter": lambda day: day.year * 4 + (day.month - 1) // 3,
    "year": lambda day: day.year,
}
_NAMES: dict[str, Callable[[date], str]] = {
    "day": date.isoformat,
    "week": _week,
    "month": lambda day: day.isoformat()[:7],
    "quarter": lambda day: f"{day.year:04}-Q{(day.month - 1) // 3 + 1}",
    "year": lambda day: f"{day.year:04}",
}
