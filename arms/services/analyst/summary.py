"""Summaries in the texts' own sentences: the ones most like all the others."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from dataclasses import dataclass

from arms.services.analyst.texts import Check, content_words, sentences

NAME = "TextRank over sentences"
#: Ranking compares sentences by pairs, so only so many are ranked.
MAX_RANKED = 600
MAX_SENTENCES = 100
# Source: Mihalcea and Tarau, "TextRank: Bringing Order into Text", EMNLP 2004;
# damping from Brin and Page, 1998.
_DAMPING = 0.85
_ROUNDS = 50
_PRECISE_ENOUGH = 1e-6


@dataclass(frozen=True, kw_only=True)
class Sentence:
    """A chosen sentence: from which text it is, and its rank (1.0 is average)."""

    text: str
    text_index: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Chosen sentences in the order in which they stand in the texts.

    Attributes:
        sentence_count: how many different sentences the texts have.
        ranked_count: how many of those were compared.
    """

    sentences: tuple[Sentence, ...]
    sentence_count: int
    ranked_count: int

    @property
    def coverage(self) -> float:
        """Share of the sentences that were ranked."""
        return self.ranked_count / self.sentence_count if self.sentence_count else 0.0


@dataclass(frozen=True, kw_only=True)
class _Candidate:
    text: str
    text_index: int
    words: frozenset[str]


def summarise(texts: tuple[str, ...], *, count: int, check: Check) -> Summary:
    """Choose ``count`` sentences; ``check`` is asked on the way whether to go on."""
    every = _candidates(texts, check)
    ranked = _spread(every)
    scores = _rank(_similarities(ranked, check), check)
    by_score = sorted(range(len(ranked)), key=lambda place: (-scores[place], place))
    chosen = sorted(by_score[:count])
    return Summary(
        sentences=tuple(
            Sentence(
                text=ranked[place].text,
                text_index=ranked[place].text_index,
                score=scores[place],
            )
            for place in chosen
        ),
        sentence_count=len(every),
        ranked_count=len(ranked),
    )


def _candidates(texts: tuple[str, ...], check: Check) -> list[_Candidate]:
    """Return the sentences, each different one once; those without words last resort."""
    found: dict[str, _Candidate] = {}
    for index, text in enumerate(texts):
        if index % 200 == 0:
            check()
        for sentence in sentences(text):
            known = frozenset(content_words(sentence))
            found.setdefault(
                sentence.casefold(),
                _Candidate(text=sentence, text_index=index, words=known),
            )
    with_words = [each for each in found.values() if each.words]
    return with_words or list(found.values())


def _spread(candidates: list[_Candidate]) -> list[_Candidate]:
    """Return at most ``MAX_RANKED`` of them, evenly from beginning to end."""
    if len(candidates) <= MAX_RANKED:
        return candidates
    step = len(candidates) / MAX_RANKED
    return [candidates[int(place * step)] for place in range(MAX_RANKED)]


def _similarities(candidates: list[_Candidate], check: Check) -> list[dict[int, float]]:
    """Return for each sentence the others it shares words with, and how much.

    Shared words divided by the logarithms of both lengths; one is added, because the
    logarithm of a sentence of one word is 0.
    """
    holders: defaultdict[str, list[int]] = defaultdict(list)
    for place, candidate in enumerate(candidates):
        for word in candidate.words:
            holders[word].append(place)
    logarithms = [math.log(len(each.words) + 1) + 1 for each in candidates]
    similar = []
    for place, candidate in enumerate(candidates):
        if place % 50 == 0:
            check()
        shared = Counter(other for word in candidate.words for other in holders[word])
        del shared[place]
        similar.append(
            {
                other: common / (logarithms[place] + logarithms[other])
                for other, common in shared.items()
            }
        )
    return similar


def _rank(similar: list[dict[int, float]], check: Check) -> list[float]:
    """Return the stationary weight of each sentence; their mean is about 1."""
    totals = [sum(others.values()) for others in similar]
    scores = [1.0] * len(similar)
    for _ in range(_ROUNDS):
        check()
        fresh = [
            1
            - _DAMPING
            + _DAMPING
            * sum(
                weight / totals[other] * scores[other]
                for other, weight in others.items()
            )
            for others in similar
        ]
        change = max(
            (abs(new - old) for new, old in zip(fresh, scores, strict=True)), default=0
        )
        scores = fresh
        if change < _PRECISE_ENOUGH:
            break
    return scores
