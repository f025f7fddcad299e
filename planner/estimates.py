"""What a step costs and takes: by the catalogue, corrected by what was observed.

With few observations the catalogue counts more: n steps that ran weigh n / (n + 10),
so ten of them count as much as the catalogue, and ninety for nine tenths.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from arms.contract import Capability
from planner.observed import Observed

# How many observations the catalogue's figure is worth.
PRIOR_COUNT = 10
_MICRO_USD = Decimal("0.000001")


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What one step is expected to need.

    Attributes:
        cost_usd: USD; never below the catalogue's price.
        seconds: what half of such steps stay below.
        seconds_p90: what nine of ten stay below; the same without observations,
            because the catalogue knows one figure only.
    """

    cost_usd: Decimal = Decimal(0)
    seconds: float = 0.0
    seconds_p90: float = 0.0


def estimate(offer: Capability, seen: Observed | None) -> Estimate:
    """Return what one call of a capability is expected to need.

    The price in the catalogue must be paid: cheap runs, say from an arm's own cache,
    do not lower it, because the step's share of the budget is set aside by it.
    """
    if seen is None or seen.count < 1:
        return Estimate(
            cost_usd=offer.cost_usd, seconds=offer.seconds, seconds_p90=offer.seconds
        )
    seconds = _drawn(offer.seconds, seen.p50_s, seen.count)
    return Estimate(
        cost_usd=_cost(offer.cost_usd, seen),
        seconds=seconds,
        seconds_p90=max(seconds, _drawn(offer.seconds, seen.p90_s, seen.count)),
    )


def longest_chain_s(steps: Iterable[tuple[str, Sequence[str], float]]) -> float:
    """Return the seconds of the longest chain of steps; milliseconds.

    ``steps`` are id, the ids it depends on and seconds, each after those it depends
    on. What is not among them takes no time.
    """
    ends: dict[str, float] = {}
    for step_id, parents, seconds in steps:
        starts = max((ends.get(parent, 0.0) for parent in parents), default=0.0)
        ends[step_id] = starts + seconds
    return round(max(ends.values(), default=0.0), 3)


def _drawn(catalogue: float, observed: float, count: int) -> float:
    """Return the observed figure, drawn towards the catalogue's; milliseconds."""
    weight = count / (count + PRIOR_COUNT)
    return round(weight * observed + (1 - weight) * catalogue, 3)


def _cost(catalogue: Decimal, seen: Observed) -> Decimal:
    if seen.p50_cost_usd <= catalogue:
        return catalogue
    drawn = (seen.p50_cost_usd * seen.count + catalogue * PRIOR_COUNT) / (
        seen.count + PRIOR_COUNT
    )
    return drawn.quantize(_MICRO_USD, rounding=ROUND_UP)
