"""The analyst's work on texts: input read, work called, outcome written down."""

from __future__ import annotations

from collections.abc import Mapping

from arms.services.analyst import (
    classify,
    compare,
    extract,
    keywords,
    sentiment,
    summary,
)
from arms.services.analyst.analysis import Analysis, Work, remarks, whole_number
from arms.services.analyst.concealing import without_values
from arms.services.analyst.texts import MAX_ITEMS, Check, read_texts
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue


def _sentiment(given: JSONObject, check: Check) -> Analysis:
    """Score the sentiment of texts."""
    texts = read_texts(given.get("texts"))
    found = sentiment.score_texts(texts.texts, check=check)
    items: list[JSONValue] = [
        {"index": index, "score": round(each.score, 4), "label": each.label}
        for index, each in zip(texts.indexes, found.texts, strict=True)
    ]
    undecided = sum(each.label in ("neutral", "undecided") for each in found.texts)
    output: JSONObject = {
        "sentiment_score": round(found.score, 4),
        "positive": round(found.positive, 4),
        "negative": round(found.negative, 4),
        "undecided": round(found.undecided, 4),
        "neutral": round(found.neutral, 4),
        "count": len(items),
        "coverage": round(found.coverage, 4),
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "method": remarks(
            f"{sentiment.NAME}.",
            f"{undecided} of {len(items)} texts were left undecided: "
            "they balance, hold no opinion word, or are not in English.",
            (
                f"Only the first {MAX_ITEMS:,} items are listed."
                if len(items) > MAX_ITEMS
                else ""
            ),
            texts.remark,
        ),
    }
    reason = (
        f"Coverage {found.coverage:.2f} times {sentiment.ACCURACY_WHEN_DECIDED}, "
        "the share of decided review sentences whose sign the lexicon gets right."
    )
    return Analysis(output=output, confidence=found.confidence, reason=reason)


def _summarise(given: JSONObject, check: Check) -> Analysis:
    """Summarise texts in their own sentences."""
    texts = read_texts(given.get("texts"))
    count = whole_number(given, "sentences", default=5, most=summary.MAX_SENTENCES)
    found = summary.summarise(texts.texts, count=count, check=check)
    chosen: list[JSONValue] = [
        {
            "text": sentence.text,
            "index": texts.indexes[sentence.text_index],
            "score": round(sentence.score, 4),
        }
        for sentence in found.sentences
    ]
    output: JSONObject = {
        "summary": " ".join(sentence.text for sentence in found.sentences),
        "sentences": chosen,
        "coverage": round(found.coverage, 4),
        "method": remarks(
            f"{summary.NAME}: {len(chosen)} of {found.sentence_count} sentences.",
            (
                f"{found.ranked_count} were compared, evenly chosen."
                if found.ranked_count < found.sentence_count
                else ""
            ),
            texts.remark,
        ),
    }
    reason = "How good a choice of sentences is cannot be computed."
    return Analysis(output=output, confidence=None, reason=reason)


def _keywords(given: JSONObject, check: Check) -> Analysis:
    """Find the words and phrases that texts are about."""
    texts = read_texts(given.get("texts"))
    limit = whole_number(given, "limit", default=10, most=MAX_ITEMS)
    bare = tuple(without_values(text, check=check) for text in texts.texts)
    found = keywords.find_keywords(bare, limit=limit, check=check)
    listed: list[JSONValue] = [
        {"keyword": each.text, "score": round(each.score, 4), "count": each.count}
        for each in found.keywords
    ]
    output: JSONObject = {
        "keywords": listed,
        "coverage": round(found.coverage, 4),
        "method": remarks(f"{keywords.NAME}, English stop words.", texts.remark),
    }
    reason = "The share of the texts that hold at least one of the keywords."
    return Analysis(output=output, confidence=found.coverage, reason=reason)


def _classify(given: JSONObject, check: Check) -> Analysis:
    """Label texts by words."""
    texts = read_texts(given.get("texts"))
    rules = classify.read_rules(given.get("rules"))
    found = classify.classify(texts.texts, rules, check=check)
    undecided = sum(not each.labels for each in found)
    items: list[JSONValue] = [
        {"index": index, "labels": list(each.labels), "matched": list(each.matched)}
        for index, each in zip(texts.indexes, found, strict=True)
    ]
    coverage = 1 - undecided / len(found)
    output: JSONObject = {
        "labels": {
            rule.label: sum(rule.label in each.labels for each in found)
            for rule in rules
        },
        "items": items[:MAX_ITEMS],
        "items_cut": len(items) > MAX_ITEMS,
        "undecided": undecided,
        "count": len(found),
        "coverage": round(coverage, 4),
        "method": remarks(
            f"{classify.NAME.capitalize()}; a text may have several labels.",
            f"{undecided} of {len(found)} texts hold none of the words.",
            texts.remark,
        ),
    }
    reason = "The share of the texts that a rule labels; rules are taken as right."
    return Analysis(output=output, confidence=coverage, reason=reason)


def _extract(given: JSONObject, check: Check) -> Analysis:
    """Find e-mail addresses, dates and amounts."""
    texts = read_texts(given.get("texts"))
    kinds = _kinds(given.get("kinds"))
    found = extract.extract(texts.texts, kinds, check=check)
    output: JSONObject = {
        kind: [
            each.as_json() | {"index": texts.indexes[each.index]}
            for each in found.get(kind, [])[:MAX_ITEMS]
        ]
        for kind in extract.KINDS
    }
    ambiguous = sum(each.meaning["date"] is None for each in found.get("dates", []))
    holding = {each.index for facts in found.values() for each in facts}
    coverage = len(holding) / len(texts.texts)
    output |= {
        "count": sum(map(len, found.values())),
        "found_cut": any(len(facts) > MAX_ITEMS for facts in found.values()),
        "coverage": round(coverage, 4),
        "method": remarks(
            f"{extract.NAME.capitalize()}; looked for {', '.join(kinds)}.",
            f"{ambiguous} dates can be read in two ways." if ambiguous else "",
            f"{len(holding)} of {len(texts.texts)} texts hold any.",
            texts.remark,
        ),
    }
    reason = "How much the patterns miss cannot be computed."
    return Analysis(output=output, confidence=None, reason=reason)


def _compare(given: JSONObject, check: Check) -> Analysis:
    """Compare two texts, lists or objects."""
    found = compare.compare(given.get("a"), given.get("b"), check=check)
    lists = {
        "only_in_a": found.only_in_a,
        "only_in_b": found.only_in_b,
        "shared": found.shared,
    }
    most = compare.MAX_UNITS
    output: JSONObject = {name: list(units[:most]) for name, units in lists.items()}
    output |= {
        "similarity": round(found.similarity, 4),
        "lists_cut": any(len(units) > most for units in lists.values()),
        "method": f"{compare.NAME.capitalize()}.",
    }
    reason = "Exact, as the method defines it."
    return Analysis(output=output, confidence=1.0, reason=reason)


def _kinds(value: JSONValue) -> tuple[str, ...]:
    """Return the kinds of facts to look for, all if none is named."""
    given = [value] if isinstance(value, str) else value
    if given is None or given == []:
        return extract.KINDS
    if not isinstance(given, list) or not set(map(str, given)) <= set(extract.KINDS):
        known = ", ".join(extract.KINDS)
        raise ArmInputError(f"“kinds” must be a list of {known}.")
    return tuple(kind for kind in extract.KINDS if kind in given)


TEXT_WORK: Mapping[str, Work] = {
    "sentiment": _sentiment,
    "summarise": _summarise,
    "keywords": _keywords,
    "classify": _classify,
    "extract": _extract,
    "compare": _compare,
}
