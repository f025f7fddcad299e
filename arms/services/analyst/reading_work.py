"""The analyst's work on how texts read: in which language, and how hard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from arms.services.analyst import languages, readability
from arms.services.analyst.analysis import Analysis, Work, remarks
from arms.services.analyst.texts import MAX_ITEMS, Check, each_text, read_texts
from octollm.types import JSONObject, JSONValue


def _readability(given: JSONObject, check: Check) -> Analysis:
    """Compute how hard English texts are to read."""
    texts = read_texts(given.get("texts"))
    items: list[JSONValue] = []
    counted: list[readability.Counts] = []
    for index, text in each_text(texts, check=check):
        is_english = languages.detect(text).language in ("en", None)
        found = readability.count(text) if is_english else None
        if found is not None:
            counted.append(found)
        items.append(
            {
                "index": index,
                "reading_ease": None if found is None else round(found.ease, 1),
                "grade": None if found is None else round(found.grade, 1),
            }
        )
    coverage = round(len(counted) / len(texts.texts), 4)
    output: JSONObject = {
        **_of_all(counted),
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "count": len(items),
        "coverage": coverage,
        "method": remarks(
            f"{readability.NAME}, made for English; syllables are groups of vowels. "
            "Of fewer than 100 words the figures say little.",
            (
                f"{len(items) - len(counted)} of {len(items)} texts have no words or are "
                "in another language."
                if coverage < 1
                else ""
            ),
            texts.remark,
        ),
    }
    reason = "The formulas measure lengths; whether a text is understood they cannot."
    return Analysis(output=output, confidence=None, reason=reason)


def _of_all(counted: list[readability.Counts]) -> JSONObject:
    """Return the figures of all texts as of one; null where there is no English."""
    names = (
        "reading_ease",
        "grade",
        "label",
        "words_per_sentence",
        "syllables_per_word",
    )
    if not counted:
        return dict.fromkeys(names)
    whole = readability.together(counted)
    values: tuple[JSONValue, ...] = (
        round(whole.ease, 1),
        round(whole.grade, 1),
        whole.label,
        round(whole.words_per_sentence, 2),
        round(whole.syllables_per_word, 2),
    )
    return dict(zip(names, values, strict=True))


def _language(given: JSONObject, check: Check) -> Analysis:
    """Tell which language each text is in."""
    texts = read_texts(given.get("texts"))
    counts: Counter[str] = Counter()
    items: list[JSONValue] = []
    for index, text in each_text(texts, check=check):
        guess = languages.detect(text)
        if guess.language:
            counts[guess.language] += 1
        items.append(
            {"index": index, "language": guess.language, "certainty": guess.certainty}
        )
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    undecided = len(items) - counts.total()
    coverage = 1 - undecided / len(items)
    output: JSONObject = {
        "language": ranked[0][0] if ranked else None,
        "languages": dict(ranked),
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "undecided": undecided,
        "count": len(items),
        "coverage": round(coverage, 4),
        "method": remarks(
            f"{languages.NAME.capitalize()} of the first "
            f"{languages.MAX_CHARACTERS:,} characters; knows "
            f"{', '.join(languages.CODES)}.",
            (
                f"{undecided} of {len(items)} texts are too short, mixed or in another "
                "language."
                if undecided
                else ""
            ),
            texts.remark,
        ),
    }
    reason = "The share of the texts whose language was decided."
    return Analysis(output=output, confidence=coverage, reason=reason)


READING_WORK: Mapping[str, Work] = {
    "readability": _readability,
    "language": _language,
}
