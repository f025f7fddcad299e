"""What is killed when, made from a run's seed alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from random import Random

# How often each kind comes, of all strikes.
KINDS: Mapping[str, int] = {
    "worker": 9,  # kill -9 of a worker's process group
    "web": 3,  # kill -9 of the web server's process group
    "valkey": 2,  # kill -9 of the queue's server
    "flush": 2,  # FLUSHALL
    "postgres": 2,  # kill -9 of the postmaster
    "backend": 2,  # kill -9 of one backend: the postmaster throws all others out
    "arm": 2,  # kill -9 of the arm elsewhere that has a store of executions
    "pause": 2,  # SIGSTOP of a worker for longer than its lease
}
# What is left standing between two strikes, so that work gets done at all.
MIN_GAP_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Strike:
    """One act of violence.

    Attributes:
        at_s: when, from the run's start.
        choice: which of several is meant, by the remainder of its division.
        down_s: how long until what was killed is started again, or goes on.
    """

    at_s: float
    kind: str
    choice: int
    down_s: float


def make_schedule(
    seed: int, *, until_s: float, every_s: float, pause_s: float
) -> list[Strike]:
    """Return the strikes of a run in their order, about one each ``every_s``.

    Each kind comes once before any comes again, then by its share. ``pause_s`` is
    the least that a paused worker sleeps.
    """
    random = Random(f"{seed}/strikes")
    kinds = list(KINDS)
    random.shuffle(kinds)
    strikes: list[Strike] = []
    at_s = MIN_GAP_S
    while (at_s := at_s + _gap_s(random, every_s)) < until_s:
        kind = kinds.pop() if kinds else _any_kind(random)
        down_s = random.uniform(0.2, 2.5)
        if kind == "pause":
            down_s += pause_s
        strikes.append(
            Strike(at_s=at_s, kind=kind, choice=random.randrange(2**16), down_s=down_s)
        )
    return strikes


def _gap_s(random: Random, every_s: float) -> float:
    return MIN_GAP_S + random.expovariate(1 / max(0.01, every_s - MIN_GAP_S))


def _any_kind(random: Random) -> str:
    return random.choices(list(KINDS), weights=list(KINDS.values()))[0]
