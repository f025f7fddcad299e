"""The analyst's work on the form of texts: counts, parts, sums."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

from arms.services.analyst.analysis import (
    Analysis,
    Work,
    choice,
    question_of,
    remarks,
)
from arms.services.analyst.bounds import fitting, fitting_text
from arms.services.analyst.parts import SPLITTERS
from arms.services.analyst.tables import plain_name
from arms.services.analyst.texts import (
    MAX_ITEMS,
    Check,
    each_text,
    in_batches,
    read_texts,
    sentences,
    words,
)
from octollm.types import JSONObject, JSONValue
from reflex.placeholders import has_placeholder

_EXACT = "Exact, as the method defines it."
# Source: Brysbaert, "How many words do we read per minute?", 2019: silent reading of
# English non-fiction.
_WORDS_PER_MINUTE = 238


def _text_statistics(given: JSONObject, check: Check) -> Analysis:
    """Count characters, words, sentences and paragraphs."""
    texts = read_texts(given.get("texts"))
    counts: list[dict[str, int]] = []
    unique: set[str] = set()
    paragraphs = 0
    for text in in_batches(texts.texts, check=check, size=50):
        found = words(text)
        unique.update(found)
        paragraphs += sum(1 for _ in SPLITTERS["paragraphs"](text))
        counts.append(_counts(text, len(found)))
    totals = {name: sum(each[name] for each in counts) for name in counts[0]}
    items: list[JSONValue] = [
        _item(index, each) for index, each in zip(texts.indexes, counts, strict=True)
    ]
    places = range(len(counts))
    by_length = sorted(
        places, key=lambda at: (counts[at]["words"], counts[at]["characters"])
    )
    output: JSONObject = {
        "count": len(counts),
        **totals,
        "unique_words": len(unique),
        "paragraphs": paragraphs,
        "words_per_text": round(totals["words"] / len(counts), 2),
        "words_per_sentence": round(totals["words"] / max(1, totals["sentences"]), 2),
        "reading_minutes": round(totals["words"] / _WORDS_PER_MINUTE, 1),
        "longest": items[by_length[-1]],
        "shortest": items[by_length[0]],
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "coverage": 1.0,
        "method": remarks(
            "Words are runs of letters; sentences end at . ! ? or a line's end; "
            "concealed values count as characters and not as words; "
            f"{_WORDS_PER_MINUTE} words are read in a minute.",
            texts.remark,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _counts(text: str, word_count: int) -> dict[str, int]:
    return {
        "characters": len(text),
        "words": word_count,
        "sentences": len(sentences(text)),
    }


def _item(index: int, counts: Mapping[str, int]) -> JSONObject:
    return {"index": index, **counts}


def _split(given: JSONObject, check: Check) -> Analysis:
    """Cut texts into sentences, paragraphs or sections."""
    texts = read_texts(given.get("texts"))
    into = choice(given, "into", tuple(SPLITTERS), default=_asked_parts(given))
    count = 0
    found: list[JSONValue] = []
    is_cut = False
    for index, text in each_text(texts, check=check):
        parts = in_batches(SPLITTERS[into](text), check=check, size=1_000)
        for number, part in enumerate(parts, start=1):
            count += 1
            if len(found) < MAX_ITEMS:
                shown = fitting_text(part.text)
                is_cut |= len(shown) < len(part.text)
                found.append(
                    {
                        "index": index,
                        "number": number,
                        "heading": part.heading,
                        "text": shown,
                    }
                )
    kept: list[JSONValue] = list(fitting(found, most=MAX_ITEMS))
    output: JSONObject = {
        "parts": kept,
        "parts_cut": is_cut or len(kept) < count,
        "count": count,
        "into": into,
        "coverage": 1.0,
        "method": remarks(_SPLIT_METHODS[into], texts.remark),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


_SPLIT_METHODS = {
    "sentences": "Sentences end at . ! ? or a line's end; over 500 characters they "
    "are cut.",
    "paragraphs": "Paragraphs end at blank lines.",
    "sections": "Sections begin at headings of Markdown: with # or underlined.",
}


def _asked_parts(given: JSONObject) -> str:
    asked = plain_name(question_of(given)).split()
    named = (name for name in SPLITTERS for word in asked if word in (name, name[:-1]))
    return next(named, "paragraphs")


def _checksum(given: JSONObject, check: Check) -> Analysis:
    """Take an inventory of texts: sizes and SHA-256 sums."""
    texts = read_texts(given.get("texts"))
    sums: set[str] = set()
    items: list[JSONValue] = []
    size = hidden = 0
    for index, text in each_text(texts, check=check):
        content = text.encode("utf-8", "surrogatepass")
        # Of a text with a placeholder it would be the sum of another text.
        is_whole = not has_placeholder(text)
        digest = hashlib.sha256(content).hexdigest()
        sums.add(digest)
        size += len(content)
        hidden += not is_whole
        items.append(
            {
                "index": index,
                "sha256": digest if is_whole else None,
                **_sizes(text, content),
            }
        )
    coverage = 1 - hidden / len(items)
    output: JSONObject = {
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "count": len(items),
        "distinct_count": len(sums),
        "bytes": size,
        "coverage": round(coverage, 4),
        "method": remarks(
            "SHA-256 of the text in UTF-8, to the letter.",
            (
                f"{hidden} texts hold values that are concealed, so their sum is not "
                "known and their sizes are those of the concealed text."
                if hidden
                else ""
            ),
            texts.remark,
        ),
    }
    reason = "Exact; the share of the texts that hold no concealed value."
    return Analysis(output=output, confidence=coverage, reason=reason)


def _sizes(text: str, content: bytes) -> JSONObject:
    return {
        "characters": len(text),
        "bytes": len(content),
        "lines": len(text.splitlines()),
    }


FORM_WORK: Mapping[str, Work] = {
    "text_statistics": _text_statistics,
    "split": _split,
    "checksum": _checksum,
}
