"""Keywords: words and phrases between stop words, by company and frequency."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from arms.services.analyst.texts import Check, in_batches, plain_text, words
from arms.services.analyst.words import STOP_WORDS

NAME = "RAKE phrases weighted by frequency"
_MAX_WORDS = 3
_MAX_PHRASES = 200_000
# “battery” 14 times, 12 of them as “battery life”: the phrase says it better.
_MOSTLY = 1.5
_BREAK = re.compile(r"[^\w\s'\u2019-]|\n")


@dataclass(frozen=True, kw_only=True)
class Keyword:
    """A word or phrase, how often it occurs, and its score; the best one has 1.0."""

    text: str
    count: int
    score: float


@dataclass(frozen=True, kw_only=True)
class Keywords:
    """The best keywords, and the share of texts that hold at least one of them."""

    keywords: tuple[Keyword, ...]
    coverage: float


def find_keywords(texts: tuple[str, ...], *, limit: int, check: Check) -> Keywords:
    """Return the best ``limit`` keywords of all texts together.

    Source: Rose et al., "Automatic keyword extraction from individual documents",
    2010 (RAKE): a word counts by its degree over its frequency, a phrase by the sum
    of its words. The mean is taken in place of the sum, which favours long phrases,
    and multiplied by how often the phrase occurs.
    """
    phrases: Counter[tuple[str, ...]] = Counter()
    homes: list[set[tuple[str, ...]]] = []
    for text in in_batches(texts, check=check):
        found = list(_phrases(text))
        homes.append(set(found))
        if len(phrases) < _MAX_PHRASES:
            phrases.update(found)
    best = _best(_scores(phrases), phrases, limit)
    chosen = {phrase for phrase, _ in best}
    covered = sum(not chosen.isdisjoint(home) for home in homes)
    top = best[0][1] if best else 1.0
    return Keywords(
        keywords=tuple(
            Keyword(text=" ".join(phrase), count=phrases[phrase], score=score / top)
            for phrase, score in best
        ),
        coverage=covered / len(homes) if homes else 0.0,
    )


def _phrases(text: str) -> Iterator[tuple[str, ...]]:
    """Yield runs of content words of at most three, and the words of longer ones."""
    for part in _BREAK.split(plain_text(text)):
        run: list[str] = []
        for word in [*words(part), ""]:
            if len(word) > 1 and word not in STOP_WORDS:
                run.append(word)
                continue
            if 0 < len(run) <= _MAX_WORDS:
                yield tuple(run)
            # A word is a candidate as well, or “kettle” would lose what “new kettle”
            # and “red kettle” have in common.
            if len(run) > 1:
                yield from ((each,) for each in run)
            run = []


def _scores(phrases: Counter[tuple[str, ...]]) -> dict[tuple[str, ...], float]:
    """Return the score of each phrase."""
    frequency: Counter[str] = Counter()
    degree: Counter[str] = Counter()
    for phrase, count in phrases.items():
        for word in phrase:
            frequency[word] += count
            degree[word] += count * len(phrase)
    return {
        phrase: count
        * sum(degree[word] / frequency[word] for word in phrase)
        / len(phrase)
        for phrase, count in phrases.items()
    }


def _best(
    scores: dict[tuple[str, ...], float],
    phrases: Counter[tuple[str, ...]],
    limit: int,
) -> list[tuple[tuple[str, ...], float]]:
    """Return the best phrases; a word that stands mostly in one of them is left out."""
    within = {
        (word,)
        for phrase, count in phrases.items()
        if len(phrase) > 1 and count > 1
        for word in phrase
        if phrases[(word,)] <= _MOSTLY * count
    }
    candidates = (phrase for phrase in scores if phrase not in within)
    ordered = sorted(candidates, key=lambda phrase: (-scores[phrase], phrase))
    return [(phrase, scores[phrase]) for phrase in ordered[:limit]]
