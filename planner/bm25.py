"""How near a query is to each of some documents, by the words they share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

K1, B = 1.2, 0.75


class Index:
    """Documents to compare queries with.

    Source: Robertson & Zaragoza (2009), The Probabilistic Relevance Framework: BM25 and
    Beyond; the weight of a word is log(1 + (N - n + 0.5) / (n + 0.5)), never negative.
    """

    def __init__(self, documents: Iterable[Sequence[str]]) -> None:
        """Read the documents, each a sequence of words."""
        self._counts = [Counter(document) for document in documents]
        lengths = [counts.total() for counts in self._counts]
        mean = sum(lengths) / max(1, len(lengths)) or 1.0
        self._norms = [K1 * (1 - B + B * length / mean) for length in lengths]
        self._holders = Counter(word for counts in self._counts for word in counts)

    def weight(self, word: str) -> float:
        """Return how much a word tells; most when no document holds it."""
        holders = self._holders[word]
        return math.log1p((len(self._counts) - holders + 0.5) / (holders + 0.5))

    def shares(self, query: Iterable[str]) -> list[float]:
        """Return for each document what share of the query it accounts for.

        That is its BM25 score, divided by the score of a document that holds every word
        of the query without end: 0.0 to 1.0, whatever the query's length.
        """
        weights = {word: self.weight(word) for word in dict.fromkeys(query)}
        return [self._share(weights, place) for place in range(len(self._counts))]

    def share(self, query: Iterable[str], place: int) -> float:
        """Return what share of the query one document accounts for."""
        weights = {word: self.weight(word) for word in dict.fromkeys(query)}
        return self._share(weights, place)

    def _share(self, weights: Mapping[str, float], place: int) -> float:
        counts, norm = self._counts[place], self._norms[place]
        score = sum(
            weight * counts[word] * (K1 + 1) / (counts[word] + norm)
            for word, weight in weights.items()
            if word in counts
        )
        return score / (sum(weights.values()) * (K1 + 1) or 1.0)
