"""How long to wait before a try is made again."""

from __future__ import annotations

from random import Random


def full_jitter(attempt: int, *, base_s: float, cap_s: float, random: Random) -> float:
    """Return the pause after the ``attempt``-th failed try (1 is the first), seconds.

    Evenly drawn between 0 and the doubling bound, so that many callers who failed
    at the same moment do not come back at the same moment.
    Source: M. Brooker, "Exponential Backoff And Jitter" (AWS Architecture Blog, 2015).
    """
    # The exponent is bounded: 2.0**5000 would overflow long after the cap is reached.
    bound_s = min(cap_s, base_s * 2.0 ** min(max(attempt, 1) - 1, 63))
    return random.uniform(0.0, bound_s)
