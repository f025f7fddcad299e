"""How hard English texts are to read, by the lengths of words and sentences."""

from __future__ import annotations

import re
from dataclasses import dataclass

from arms.services.analyst.texts import sentences, words

NAME = "Flesch reading ease and Flesch-Kincaid grade"
# Source: Flesch, "A New Readability Yardstick", 1948.
_EASE = (206.835, 1.015, 84.6)
# Source: Kincaid et al., "Derivation of New Readability Formulas", 1975.
_GRADE = (-15.59, 0.39, 11.8)
# Source: Flesch, "How to Write Plain English", 1979.
_LABELS = (
    (90.0, "very easy"),
    (80.0, "easy"),
    (70.0, "fairly easy"),
    (60.0, "plain English"),
    (50.0, "fairly difficult"),
    (30.0, "difficult"),
)
HARDEST = "very difficult"
LABELS = (*(label for _, label in _LABELS), HARDEST)
_VOWELS = re.compile(r"[aeiouyà-üœæ]+")
# A final e is silent, but not in “table”; neither is the e of “wanted”.
_SILENT = re.compile(r"(?:[^laeiouy]e|[^aeiouy][^aeiouytd]ed|[^aeiouyszxc]es)$")


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What the formulas need of a text."""

    words: int
    sentences: int
    syllables: int

    @property
    def words_per_sentence(self) -> float:
        """Return the mean length of a sentence."""
        return self.words / self.sentences

    @property
    def syllables_per_word(self) -> float:
        """Return the mean length of a word."""
        return self.syllables / self.words

    @property
    def ease(self) -> float:
        """Return the reading ease; 60 to 70 is plain, 100 very easy, below 0 absurd."""
        base, by_sentence, by_word = _EASE
        return (
            base
            - by_sentence * self.words_per_sentence
            - by_word * self.syllables_per_word
        )

    @property
    def grade(self) -> float:
        """Return the years of school in the United States that it takes."""
        base, by_sentence, by_word = _GRADE
        return (
            base
            + by_sentence * self.words_per_sentence
            + by_word * self.syllables_per_word
        )

    @property
    def label(self) -> str:
        """Return the reading ease in words."""
        return next((label for least, label in _LABELS if self.ease >= least), HARDEST)


def count(text: str) -> Counts | None:
    """Count a text's words, sentences and syllables; nothing if it has no word."""
    found = words(text)
    if not found:
        return None
    units = [unit for unit in sentences(text) if words(unit)]
    return Counts(
        words=len(found),
        sentences=max(1, len(units)),
        syllables=sum(syllables(word) for word in found),
    )


def together(counts: list[Counts]) -> Counts:
    """Return the counts of all texts as of one."""
    return Counts(
        words=sum(each.words for each in counts),
        sentences=sum(each.sentences for each in counts),
        syllables=sum(each.syllables for each in counts),
    )


def syllables(word: str) -> int:
    """Return about how many syllables an English word has: groups of vowels."""
    groups = len(_VOWELS.findall(word))
    return max(1, groups - bool(_SILENT.search(word)))
