"""How columns go together: correlation of two, and one over time."""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from arms.services.analyst import dates
from arms.services.analyst.measures import computed
from arms.services.analyst.tables import Column
from octollm.errors import ArmInputError

RULES = ("pearson", "spearman")
#: Two points always lie on a line.
MIN_PAIRS = 3
# A line that changes by less than this share of the mean level counts as flat.
FLAT = 0.05


def correlation(one: Column, other: Column, *, rule: str) -> tuple[float | None, int]:
    """Return the coefficient, -1.0 to 1.0 or none, and of how many rows it is.

    There is none of fewer than three rows, nor when all numbers of a column are the
    same.

    Raises:
        ArmInputError: the numbers are too large to compute with.
    """
    pairs = [
        (first, second)
        for first, second in zip(one.cells, other.cells, strict=True)
        if isinstance(first, float) and isinstance(second, float)
    ]
    if len(pairs) < MIN_PAIRS:
        return None, len(pairs)
    firsts, seconds = [first for first, _ in pairs], [second for _, second in pairs]
    if rule == "spearman":
        firsts, seconds = _ranks(firsts), _ranks(seconds)
    try:
        found = statistics.correlation(firsts, seconds)
    except statistics.StatisticsError:
        return None, len(pairs)
    except OverflowError as error:
        raise ArmInputError("The numbers are too large to be correlated.") from error
    if not math.isfinite(found):
        return None, len(pairs)
    return max(-1.0, min(1.0, found)), len(pairs)


def _ranks(numbers: Sequence[float]) -> list[float]:
    """Return the rank of each number; equal ones share the mean of theirs."""
    places: defaultdict[float, list[int]] = defaultdict(list)
    for place, number in enumerate(sorted(numbers), start=1):
        places[number].append(place)
    shared = {number: statistics.fmean(found) for number, found in places.items()}
    return [shared[number] for number in numbers]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One period: how many rows fall in it, and the value; ``None`` without numbers."""

    period: str
    number: int
    count: int
    value: float | None


@dataclass(frozen=True, kw_only=True)
class Trend:
    """A straight line through the periods.

    Attributes:
        slope: change of the value per period, by least squares; none of one period.
        direction: ``rising``, ``falling``, ``flat`` or ``unknown``.
    """

    slope: float | None
    direction: str


def usual_period(days: Sequence[date]) -> str:
    """Return the period that suits how far the days lie apart."""
    reach = (max(days) - min(days)).days
    if reach <= 31:
        return "day"
    return "month" if reach <= 3 * 366 else "year"


def over_time(
    days: Sequence[date | None],
    values: Sequence[object],
    *,
    period: str,
    function: str,
) -> list[Point]:
    """Return the periods that have rows, in order.

    Args:
        days: of each row; rows without a day are left out.
        values: of each row; what is no number is left out.
        period: one of ``dates.PERIODS``.
        function: one of ``measures.FUNCTIONS``, or ``count``.
    """
    rows: defaultdict[int, list[int]] = defaultdict(list)
    names: dict[int, str] = {}
    for row, day in enumerate(days):
        if day is not None:
            number = dates.number_of(day, period)
            rows[number].append(row)
            names.setdefault(number, dates.name_of(day, period))
    return [
        Point(
            period=names[number],
            number=number,
            count=len(members),
            value=_value([values[row] for row in members], function),
        )
        for number, members in sorted(rows.items())
    ]


def _value(cells: Sequence[object], function: str) -> float | None:
    if function == "count":
        return float(len(cells))
    return computed(function, [cell for cell in cells if isinstance(cell, float)])


def trend_of(points: Sequence[Point]) -> Trend:
    """Return the line through the points that have a value."""
    known = [(float(p.number), p.value) for p in points if p.value is not None]
    if len(known) < 2:
        return Trend(slope=None, direction="unknown")
    places = [place for place, _ in known]
    values = [value for _, value in known]
    try:
        slope = statistics.linear_regression(places, values).slope
        level = statistics.fmean(map(abs, values))
    except OverflowError as error:
        raise ArmInputError("The numbers are too large for a trend.") from error
    change = slope * (places[-1] - places[0])
    if not math.isfinite(change):
        return Trend(slope=None, direction="unknown")
    if abs(change) <= FLAT * level:
        return Trend(slope=slope, direction="flat")
    return Trend(slope=slope, direction="rising" if slope > 0 else "falling")
