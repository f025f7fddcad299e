"""How often words and phrases occur in texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from arms.services.analyst.concealing import without_values
from arms.services.analyst.terms import Terms
from arms.services.analyst.texts import Check, words
from arms.services.analyst.words import STOP_WORDS

#: More words would take more memory than a worker should give one step.
MAX_WORDS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Frequent:
    """A word or phrase: how often it occurs, and in how many texts."""

    term: str
    count: int
    text_count: int


@dataclass(frozen=True, kw_only=True)
class Frequencies:
    """The most frequent first, equally frequent ones by the alphabet.

    Attributes:
        word_count: how many words were read.
        coverage: share of the texts' characters that were read.
    """

    terms: tuple[Frequent, ...]
    word_count: int
    coverage: float


def find_frequent(
    texts: Sequence[str], terms: Terms | None, *, size: int, check: Check
) -> Frequencies:
    """Count ``terms``, or all phrases of ``size`` words if there are none."""
    counts: Counter[str] = Counter(dict.fromkeys(terms.names, 0) if terms else {})
    holding: Counter[str] = Counter()
    word_count = characters = 0
    for text in texts:
        check()
        if word_count >= MAX_WORDS:
            break
        every = words(without_values(text, check=check))
        found = every[: MAX_WORDS - word_count]
        here = Counter(
            (hit.term for hit in terms.hits(text, check=check))
            if terms
            else _phrases(found, size)
        )
        counts.update(here)
        holding.update(here.keys())
        word_count += len(found)
        # Of a text that is too long only some words were counted.
        read = 1.0 if terms or not every else len(found) / len(every)
        characters += round(len(text) * read)
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return Frequencies(
        terms=tuple(
            Frequent(term=term, count=count, text_count=holding[term])
            for term, count in ordered
        ),
        word_count=word_count,
        coverage=characters / sum(map(len, texts)),
    )


def _phrases(found: Sequence[str], size: int) -> list[str]:
    """Return the runs of words that neither begin nor end with a stop word."""
    runs = zip(*(found[start:] for start in range(size)), strict=False)
    return [
        " ".join(run) for run in runs if _has_meaning(run[0]) and _has_meaning(run[-1])
    ]


def _has_meaning(word: str) -> bool:
    return len(word) > 1 and word not in STOP_WORDS
