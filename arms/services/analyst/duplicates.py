"""Texts that stand in a list twice: the same, or nearly."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice

from arms.services.analyst.texts import Check, in_batches

NAME = "Jaccard similarity of runs of three words"
#: Longer texts are compared as wholes only.
MAX_WORDS = 5_000
#: Of all texts; further ones are compared as wholes only.
MAX_SHINGLES = 2_000_000
# Where very many kept texts share a run of words, the first of them are compared.
_MAX_PER_RUN, _MAX_CANDIDATES = 50, 200
_SIZE = 3
_TOKEN = re.compile(r"\w+|[^\w\s]+")


@dataclass(frozen=True, kw_only=True)
class Duplicate:
    """A text left out: which kept one it repeats, and how alike they are; 1.0 is same.

    Attributes:
        place: in the list that came in; ``kept`` likewise.
    """

    place: int
    kept: int
    similarity: float
    is_exact: bool


@dataclass(frozen=True, kw_only=True)
class Duplicates:
    """What repeats what.

    Attributes:
        compared_count: texts that were compared in part, not only as wholes.
    """

    found: tuple[Duplicate, ...]
    compared_count: int


def find_duplicates(
    texts: Sequence[str], *, similarity: float, check: Check
) -> Duplicates:
    """Return the texts that repeat an earlier one, each with the first it repeats.

    Two texts are the same when they are without case, spacing; nearly the same when
    so many of their runs of three words are. A text is compared with those kept that
    share one of its rarest runs, of which two that are alike must share one.

    Source of that: Chaudhuri et al., "A Primitive Operator for Similarity Joins in
    Data Cleaning", ICDE 2006.
    """
    firsts: dict[str, int] = {}
    found: list[Duplicate] = []
    remaining: list[int] = []
    for place, text in enumerate(in_batches(texts, check=check)):
        first = firsts.setdefault(" ".join(text.casefold().split()), place)
        if first == place:
            remaining.append(place)
        else:
            found.append(
                Duplicate(place=place, kept=first, similarity=1.0, is_exact=True)
            )
    shingles = _shingled(texts, remaining, check)
    nearly = _near(shingles, similarity, check)
    instead = {each.place: each.kept for each in nearly}
    settled = [
        Duplicate(
            place=each.place,
            kept=instead.get(each.kept, each.kept),
            similarity=each.similarity,
            is_exact=True,
        )
        for each in found
    ]
    return Duplicates(
        found=tuple(sorted((*settled, *nearly), key=lambda each: each.place)),
        compared_count=len(shingles) + len(found),
    )


def _shingled(
    texts: Sequence[str], places: Sequence[int], check: Check
) -> dict[int, frozenset[tuple[str, ...]]]:
    """Return the runs of words of each text, as long as there is room for them."""
    room = MAX_SHINGLES
    found = {}
    for place in in_batches(places, check=check):
        tokens = _TOKEN.findall(texts[place].casefold()[: MAX_WORDS * 20])
        if len(tokens) > MAX_WORDS or len(tokens) > room:
            continue
        room -= len(tokens)
        runs = range(max(1, len(tokens) - _SIZE + 1))
        found[place] = frozenset(tuple(tokens[at : at + _SIZE]) for at in runs)
    return found


def _near(
    shingles: dict[int, frozenset[tuple[str, ...]]], similarity: float, check: Check
) -> list[Duplicate]:
    frequency = Counter(run for runs in shingles.values() for run in runs)
    having: defaultdict[tuple[str, ...], list[int]] = defaultdict(list)
    found = []
    for place in in_batches(shingles, check=check, size=50):
        runs = shingles[place]
        ordered = sorted(runs, key=lambda run: (frequency[run], run))
        # Texts of that similarity share at least one of so many rarest runs.
        prefix = ordered[: len(runs) - int(similarity * len(runs) - 1e-9)]
        candidates = dict.fromkeys(
            other for run in prefix for other in having[run][:_MAX_PER_RUN]
        )
        best = max(
            (
                (_alike(runs, shingles[other]), -other)
                for other in islice(candidates, _MAX_CANDIDATES)
            ),
            default=(0.0, 0),
        )
        if best[0] >= similarity:
            found.append(
                Duplicate(
                    place=place,
                    kept=-best[1],
                    similarity=round(best[0], 4),
                    is_exact=False,
                )
            )
            continue
        for run in prefix:
            having[run].append(place)
    return found


def _alike(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    """Return the share of the runs that both have."""
    shared = len(one & other)
    return shared / (len(one) + len(other) - shared)
