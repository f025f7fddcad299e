"""How well a plan fits what a goal asks for: pure, no planner and no network.

Nodes are the capabilities that a plan uses, edges the pairs of capabilities of which
one needs the other. F1 is pooled over all goals: twice the hits over what was
predicted plus what is gold. Source: TaskBench (Shen et al. 2023, arXiv 2311.18760),
node F1 and edge F1; unlike there a capability used twice counts twice, and a goal
that was not planned counts as all of its gold missed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

Edge: TypeAlias = tuple[str, str]


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A plan as far as it is compared.

    Attributes:
        nodes: ``arm.capability`` of each step; the same one may occur again.
        edges: of which capability each needs which: parent, then child.
    """

    nodes: tuple[str, ...] = ()
    edges: tuple[Edge, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What was found of what was looked for."""

    hits: int = 0
    predicted: int = 0
    gold: int = 0

    @property
    def f1(self) -> float | None:
        """Twice the hits over predicted and gold, ``None`` when there is neither."""
        total = self.predicted + self.gold
        return 2 * self.hits / total if total else None

    def __add__(self, other: Counts) -> Counts:
        """Pool two counts."""
        return Counts(
            hits=self.hits + other.hits,
            predicted=self.predicted + other.predicted,
            gold=self.gold + other.gold,
        )


@dataclass(frozen=True, kw_only=True)
class Match:
    """A plan beside its gold."""

    nodes: Counts = Counts()
    edges: Counts = Counts()

    def __add__(self, other: Match) -> Match:
        """Pool two matches."""
        return Match(nodes=self.nodes + other.nodes, edges=self.edges + other.edges)


def compare(predicted: Graph, gold: Graph, *, fewest: int = 0) -> Match:
    """Return how much of the gold was predicted.

    Args:
        predicted: the plan.
        gold: an acceptable one.
        fewest: how many steps the plan had to have at least; when the gold has fewer,
            up to so many steps are not held against it, nor are their edges.
    """
    wanted = Counter(gold.nodes)
    hits = (Counter(predicted.nodes) & wanted).total()
    surplus = len(predicted.nodes) - hits
    forgiven = min(surplus, max(0, fewest - len(gold.nodes)))
    edges = Counter(predicted.edges)
    if forgiven:
        edges = Counter(
            {edge: n for edge, n in edges.items() if wanted.keys() >= set(edge)}
        )
    return Match(
        nodes=Counts(
            hits=hits,
            predicted=len(predicted.nodes) - forgiven,
            gold=len(gold.nodes),
        ),
        edges=Counts(
            hits=(edges & Counter(gold.edges)).total(),
            predicted=edges.total(),
            gold=len(gold.edges),
        ),
    )


def best_match(predicted: Graph, golds: Sequence[Graph], *, fewest: int = 0) -> Match:
    """Return the match with the acceptable plan that fits best.

    Nodes decide, then edges. Without any gold there is nothing to count.
    """
    matches = [compare(predicted, gold, fewest=fewest) for gold in golds]
    return max(
        matches,
        key=lambda match: (match.nodes.f1 or 0.0, match.edges.f1 or 0.0),
        default=Match(),
    )


def pooled(matches: Iterable[Match]) -> Match:
    """Return all matches as one."""
    return sum(matches, start=Match())


def share(values: Iterable[float | bool | None]) -> float | None:
    """Return the mean of what is known, 0.0 to 1.0; ``None`` when nothing is."""
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that so many per cent do not exceed (nearest rank)."""
    if not values:
        return None
    rank = -(-len(values) * percent // 100)
    return sorted(values)[max(0, int(rank) - 1)]
