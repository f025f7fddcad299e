"""The analyst's work on what texts hold over and over: words and dates."""

from __future__ import annotations

from collections.abc import Mapping

from arms.services.analyst.analysis import (
    Analysis,
    Work,
    names,
    question_of,
    remarks,
    whole_number,
)
from arms.services.analyst.bounds import fitting
from arms.services.analyst.concealing import around
from arms.services.analyst.dates import FoundDate, find_dates
from arms.services.analyst.frequency import MAX_WORDS, Frequencies, find_frequent
from arms.services.analyst.terms import WORDS_METHOD, Terms, quoted
from arms.services.analyst.texts import MAX_ITEMS, Check, Texts, in_batches, read_texts
from octollm.types import JSONObject, JSONValue

_LONGEST_SENTENCE = 300
_ENDS = (". ", "! ", "? ", "\n")


def _frequency(given: JSONObject, check: Check) -> Analysis:
    """Count given words, or all words or phrases."""
    texts = read_texts(given.get("texts"))
    limit = whole_number(given, "limit", default=20, most=MAX_ITEMS)
    size = whole_number(given, "words", default=1, most=3)
    terms = names(given, "terms") or quoted(question_of(given))
    found = find_frequent(
        texts.texts, Terms(terms) if terms else None, size=size, check=check
    )
    shown = _shown(found, most=len(found.terms) if terms else limit)
    coverage = round(found.coverage, 4)
    output: JSONObject = {
        "frequencies": shown,
        "frequencies_cut": len(shown) < len(found.terms),
        "word_count": found.word_count,
        "count": len(texts.texts),
        "coverage": coverage,
        "method": remarks(
            (
                WORDS_METHOD
                if terms
                else f"Phrases of {size} words without case; none begins or ends with an "
                "English stop word. Numbers and concealed values are no words."
            ),
            f"Only the first {MAX_WORDS:,} words were read." if coverage < 1 else "",
            texts.remark,
        ),
    }
    return Analysis(
        output=output,
        confidence=found.coverage,
        reason="Exact; the share of the texts' characters that were read.",
    )


def _shown(found: Frequencies, *, most: int) -> list[JSONValue]:
    """Return the terms in the form of the catalogue, as many as fit."""
    return list(
        fitting(
            (
                {
                    "term": each.term,
                    "count": each.count,
                    "texts": each.text_count,
                    "share": round(each.count / max(1, found.word_count), 6),
                }
                for each in found.terms[:most]
            ),
            most=MAX_ITEMS,
        )
    )


def _timeline(given: JSONObject, check: Check) -> Analysis:
    """Put the dates of texts in order, each with its sentence."""
    texts = read_texts(given.get("texts"))
    found: list[tuple[str, int, FoundDate]] = []
    ambiguous = 0
    holding = set()
    for place, text in enumerate(texts.texts):
        check()
        for each in in_batches(find_dates(text), check=check, size=1_000):
            holding.add(place)
            ambiguous += each.iso is None
            if each.iso is not None:
                found.append((each.iso, place, each))
    found.sort(key=lambda event: (event[0], event[1], event[2].start))
    events: list[JSONValue] = [
        _event(texts, place, each)
        for _, place, each in in_batches(found[:MAX_ITEMS], check=check, size=50)
    ]
    output: JSONObject = {
        "events": events,
        "events_cut": len(found) > MAX_ITEMS,
        "first": found[0][0] if found else None,
        "last": found[-1][0] if found else None,
        "ambiguous_count": ambiguous,
        "count": len(found),
        "coverage": round(len(holding) / len(texts.texts), 4),
        "method": remarks(
            "Dates that name day, month and year, in order; those that can be read "
            "in two ways are counted and left out.",
            f"{len(holding)} of {len(texts.texts)} texts hold a date.",
            texts.remark,
        ),
    }
    reason = "How many dates are written in a way that is not known cannot be computed."
    return Analysis(output=output, confidence=None, reason=reason)


def _event(texts: Texts, place: int, found: FoundDate) -> JSONObject:
    """Return the form of the catalogue."""
    text = texts.texts[place]
    return {
        "date": found.iso,
        "value": found.value,
        "index": texts.indexes[place],
        "start": found.start,
        "end": found.end,
        "sentence": around(text, *_sentence(text, found), reach=0),
    }


def _sentence(text: str, found: FoundDate) -> tuple[int, int]:
    """Return where the sentence of a date begins and ends, or 300 characters of it."""
    left, right = max(0, found.start - _LONGEST_SENTENCE), found.end + _LONGEST_SENTENCE
    starts = [text.rfind(end, left, found.start) for end in _ENDS]
    start = max(starts) + 1 if max(starts) >= 0 else left
    ends = [text.find(end, found.end, right) for end in _ENDS]
    return start, min(
        (end + 1 for end in ends if end >= 0), default=min(right, len(text))
    )


COUNT_WORK: Mapping[str, Work] = {"frequency": _frequency, "timeline": _timeline}
