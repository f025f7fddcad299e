"""Which language a text is in: by its script, then by its most common words.

Short texts, mixed texts and languages that
are not listed stay undecided rather than guessed.
"""

from __future__ import annotations

import re
import tomllib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from arms.services.analyst.texts import words

NAME = "scripts and common words"
#: No more of a text is read: its language shows in the first lines.
MAX_CHARACTERS = 10_000
_FEWEST_WORDS = 2
_LEAST_SCORE = 0.8
# The best list must be that much better than the next.
_LEAST_CERTAINTY = 0.15

# Ranges of Unicode blocks; one script can be that of several languages.
_SCRIPTS = {
    "hangul": "\uac00-\ud7a3\u1100-\u11ff",
    "kana": "\u3040-\u30ff",
    "han": "\u4e00-\u9fff",
    "greek": "\u0370-\u03ff",
    "hebrew": "\u0590-\u05ff",
    "arabic": "\u0600-\u06ff",
    "devanagari": "\u0900-\u097f",
    "thai": "\u0e00-\u0e7f",
    "cyrillic": "\u0400-\u04ff",
    "latin": "A-Za-z\u00c0-\u024f",
}
_LETTERS = {name: re.compile(f"[{range_}]") for name, range_ in _SCRIPTS.items()}
_OF_ONE_LANGUAGE = {
    "hangul": "ko",
    "greek": "el",
    "hebrew": "he",
    "thai": "th",
    "devanagari": "hi",
}
_LISTS: Mapping[str, Mapping[str, str]] = tomllib.loads(
    Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
)
CODES = tuple(
    sorted(
        {*_OF_ONE_LANGUAGE.values(), "ja", "zh"}
        | {code for lists in _LISTS.values() for code in lists}
    )
)


@dataclass(frozen=True, kw_only=True)
class Guess:
    """A language by its ISO 639-1 code, or none; certainty from 0.0 to 1.0."""

    language: str | None
    certainty: float


def detect(text: str) -> Guess:
    """Return the language of a text by its first 10,000 characters."""
    head = text[:MAX_CHARACTERS]
    counts = {name: len(each.findall(head)) for name, each in _LETTERS.items()}
    script = max(counts, key=lambda name: counts[name])
    total = sum(counts.values())
    if not total:
        return Guess(language=None, certainty=0.0)
    share = counts[script] / total
    if counts["kana"] and script in ("han", "kana"):
        share = (counts["han"] + counts["kana"]) / total
        return Guess(language="ja", certainty=round(share, 4))
    if script in ("han", "kana"):
        return Guess(language="zh", certainty=round(share, 4))
    if script in _OF_ONE_LANGUAGE:
        return Guess(language=_OF_ONE_LANGUAGE[script], certainty=round(share, 4))
    return _by_words(words(head), _WEIGHTS[script])


def _by_words(found: list[str], weights: Mapping[str, Mapping[str, float]]) -> Guess:
    """Return the language whose common words stand in a text most."""
    scores: defaultdict[str, float] = defaultdict(float)
    hits: defaultdict[str, int] = defaultdict(int)
    for word in found:
        for code, weight in weights.get(word, {}).items():
            scores[code] += weight
            hits[code] += 1
    ranked = sorted(scores.items(), key=lambda item: (-item[1], item[0]))
    best, score = ranked[0] if ranked else ("", 0.0)
    if hits[best] < _FEWEST_WORDS or score < _LEAST_SCORE:
        return Guess(language=None, certainty=0.0)
    other = ranked[1][1] if len(ranked) > 1 else 0.0
    certainty = round((score - other) / score, 4)
    if certainty < _LEAST_CERTAINTY:
        return Guess(language=None, certainty=certainty)
    return Guess(language=best, certainty=certainty)


def _weighted(lists: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return for each word the languages that have it; what many have says little."""
    having: dict[str, list[str]] = {}
    for code, text in lists.items():
        for word in text.split():
            having.setdefault(word, []).append(code)
    return {
        word: {code: 1 / len(codes) for code in codes} for word, codes in having.items()
    }


_WEIGHTS = {script: _weighted(lists) for script, lists in _LISTS.items()}
