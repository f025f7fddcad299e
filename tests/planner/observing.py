"""What steps took before, as a test says."""

from __future__ import annotations

from planner.observed import Observations

_figures: dict[str, Observations] = {}


def tell(figures: Observations) -> None:
    _figures["now"] = figures


def figures() -> Observations:
    return _figures.get("now", {})
