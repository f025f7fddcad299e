"""How the numbers of a column spread: percentiles, bins, and what lies far out."""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from arms.services.analyst.measures import tidy
from arms.services.analyst.tables import Column
from octollm.types import JSONObject, JSONValue

RULES = ("iqr", "mad")
MAX_BINS = 50
_PERCENTILES = (5, 10, 25, 50, 75, 90, 95)
#: Fewer numbers have no quartiles worth the name.
MIN_NUMBERS = 5
# Source: Tukey, "Exploratory Data Analysis", 1977.
_FENCE = 1.5
# Source: Iglewicz and Hoaglin, "How to Detect and Handle Outliers", 1993.
_MODIFIED_Z = 3.5
_NORMAL = 0.6745


@dataclass(frozen=True, kw_only=True)
class Fences:
    """Beyond which a number is an outlier; ``None`` where the rule cannot say."""

    low: float
    high: float


def fences(numbers: Sequence[float], *, rule: str) -> Fences | None:
    """Return the fences by quartiles (``iqr``) or deviation from the median (``mad``).

    Too few numbers have none; by ``mad`` neither those of which half are the same.
    """
    if len(numbers) < MIN_NUMBERS:
        return None
    if rule == "iqr":
        low, _, high = statistics.quantiles(numbers, n=4, method="inclusive")
        reach = _FENCE * (high - low)
    else:
        low = high = statistics.median(numbers)
        deviation = statistics.median([abs(number - low) for number in numbers])
        reach = _MODIFIED_Z * deviation / _NORMAL
        if reach == 0:
            return None
    if not math.isfinite(reach):
        return None
    return Fences(low=low - reach, high=high + reach)


def percentiles(numbers: Sequence[float]) -> JSONObject:
    """Return p5 to p95, interpolated between neighbours; of one number all are it."""
    if len(numbers) == 1:
        return {f"p{percent}": tidy(numbers[0]) for percent in _PERCENTILES}
    cuts = statistics.quantiles(numbers, n=100, method="inclusive")
    return {f"p{percent}": tidy(cuts[percent - 1]) for percent in _PERCENTILES}


def bins(numbers: Sequence[float], *, count: int) -> list[JSONValue]:
    """Return equally wide bins from the least to the greatest number.

    A bin holds its low end and not its high one; the last holds both.
    """
    low, high = min(numbers), max(numbers)
    width = (high - low) / count
    if not width or not math.isfinite(width):
        return [{"low": tidy(low), "high": tidy(high), "count": len(numbers)}]
    edges = [low + width * place for place in range(1, count)]
    counts = [0] * count
    for number in numbers:
        counts[bisect_right(edges, number)] += 1
    ends = [low, *edges, high]
    return [
        {"low": tidy(one), "high": tidy(other), "count": each}
        for one, other, each in zip(ends, ends[1:], counts, strict=False)
    ]


def usual_bin_count(count: int) -> int:
    """Return how many bins suit so many numbers.

    Source: Sturges, "The Choice of a Class Interval", 1926.
    """
    return min(MAX_BINS, math.ceil(math.log2(max(count, 1))) + 1)


def outliers(column: Column, found: Fences) -> list[tuple[int, float]]:
    """Return row, counted from 0, and number of what lies beyond the fences."""
    return [
        (row, cell)
        for row, cell in enumerate(column.cells)
        if isinstance(cell, float) and not found.low <= cell <= found.high
    ]
