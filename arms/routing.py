"""Which instance of an arm gets an invocation, and why; pure.

Two instances are drawn by weight, and of these the one with less to wait for gets the
step: calls under way times how long one takes. That spreads steps nearly as evenly as
asking all would, and no burst of them goes where it was calmest a moment ago.
Source: M. Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (IEEE
TPDS, 2001).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from uuid import UUID

# Less apart than this, two loads are one: measured times always differ a little, and
# the faster of two equal instances would get most of the steps.
CLEAR_FACTOR = 1.5
# An instance that has begun to fail gets this share of what its weight says.
DEGRADED_SHARE = 0.25
ONLY_ONE = "the only instance"
HERE = "in this worker"
ASKED_FIRST = "its store was asked first"
AT_LEAST_ONCE = "asked again, at least once on a crash: no store"


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where an invocation goes, and why; without an instance it goes nowhere.

    Attributes:
        arm: the arm that does it; another than the step's when a fallback was taken.
        instance: its location: ``in-process`` or a URL.
    """

    arm: str = ""
    instance: str = ""
    instance_id: UUID | None = None
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An instance that can be asked now.

    Attributes:
        in_flight: calls of this process that are under way there, 0 or more.
        latency_s: how long one takes, as a moving average; nothing when unknown.
    """

    instance_id: UUID
    location: str
    weight: int
    is_degraded: bool = False
    in_flight: int = 0
    latency_s: float | None = None

    @property
    def share(self) -> float:
        """How often it is drawn beside the others."""
        return self.weight * (DEGRADED_SHARE if self.is_degraded else 1.0)

    def load_s(self, usual_s: float) -> float:
        """Seconds until one call more would be done, nearly."""
        latency_s = usual_s if self.latency_s is None else self.latency_s
        return (self.in_flight + 1) * max(latency_s, 0.001)


def choose(candidates: Sequence[Candidate], *, random: Random) -> tuple[Candidate, str]:
    """Return the candidate that gets the step, and the reason in words.

    Raises:
        ValueError: there is no candidate.
    """
    if not candidates:
        raise ValueError("nobody to choose from")
    if len(candidates) == 1:
        return candidates[0], ONLY_ONE
    first, second = _drawn(candidates, random)
    usual_s = _usual_latency_s(candidates)
    one, other = first.load_s(usual_s), second.load_s(usual_s)
    drawn = f"drawn of {len(candidates)} by weight"
    if one >= other * CLEAR_FACTOR:
        return second, f"{_less(second, first, other, one)}; both {drawn}"
    if other >= one * CLEAR_FACTOR:
        return first, f"{_less(first, second, one, other)}; both {drawn}"
    return first, f"{drawn}; {second.location} is about as busy"


def _less(winner: Candidate, loser: Candidate, has_s: float, had_s: float) -> str:
    return (
        f"less to wait for ({has_s:.3g} s) than at {loser.location} ({had_s:.3g} s)"
        f"{'' if winner.in_flight else ', nothing under way'}"
    )


def _drawn(
    candidates: Sequence[Candidate], random: Random
) -> tuple[Candidate, Candidate]:
    """Draw two different ones, each by its share."""
    shares = [each.share for each in candidates]
    first = random.choices(range(len(candidates)), shares)[0]
    shares[first] = 0.0
    second = random.choices(range(len(candidates)), shares)[0]
    return candidates[first], candidates[second]


def _usual_latency_s(candidates: Sequence[Candidate]) -> float:
    """Return the lowest known: who is new is to be tried."""
    known = [each.latency_s for each in candidates if each.latency_s is not None]
    return min(known, default=0.05)
