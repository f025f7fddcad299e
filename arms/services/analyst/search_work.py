"""The analyst's search in texts: places of words, chosen texts, masks."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from arms.services.analyst.analysis import (
    Analysis,
    Work,
    choice,
    names,
    question_of,
    remarks,
)
from arms.services.analyst.bounds import as_texts, fitting
from arms.services.analyst.concealing import KINDS, around, redact, spans, whole
from arms.services.analyst.terms import (
    WORDS_METHOD,
    Hit,
    Pattern,
    Terms,
    quoted,
    refuse_too_much,
)
from arms.services.analyst.texts import (
    MAX_ITEMS,
    Check,
    Texts,
    go_on,
    read_texts,
)
from octollm.errors import ArmInputError, MissingInputError
from octollm.types import JSONObject, JSONValue

#: Of places; what is found more often is counted so far.
MAX_HITS = 200_000
_REACH = 60
# A value that is hit in part is looked for so far around it.
_WINDOW = 500
_EXACT = "Exact, as the method defines it."
_PATTERN_METHOD = "A pattern of RE2, line by line."


def _redact(given: JSONObject, check: Check) -> Analysis:
    """Mask personal data and secrets for good."""
    texts = read_texts(given.get("texts"))
    kinds = _kinds(given)
    counts: Counter[str] = Counter()
    masked = []
    for index, text in zip(texts.indexes, texts.texts, strict=True):
        check()
        found = redact(text, kinds, check=check)
        counts += found.counts
        masked.append((index, found.text))
    listed, is_cut = as_texts(masked, count=len(masked), most=MAX_ITEMS)
    output: JSONObject = {
        "texts": listed,
        "texts_cut": is_cut,
        "counts": {kind: counts[kind] for kind in sorted(counts)},
        "count": sum(counts.values()),
        "coverage": 1.0,
        "method": remarks(
            f"Patterns and checksums for {', '.join(kinds)}; names and postal "
            "addresses have no pattern and stay.",
            _only_first(is_cut),
            texts.remark,
        ),
    }
    reason = "How much the patterns miss cannot be computed."
    return Analysis(output=output, confidence=None, reason=reason)


def _kinds(given: JSONObject) -> tuple[str, ...]:
    wanted = {name.strip().upper() for name in names(given, "kinds")}
    if not wanted <= set(KINDS):
        raise ArmInputError(f"“kinds” must be a list of {', '.join(KINDS)}.")
    return tuple(kind for kind in KINDS if kind in wanted) if wanted else KINDS


def _find(given: JSONObject, check: Check) -> Analysis:
    """Find where words or a pattern stand."""
    texts = read_texts(given.get("texts"))
    wanted = _wanted(given, "terms", texts)
    counts: Counter[str] = Counter(dict.fromkeys(wanted.names, 0))
    shown: list[JSONValue] = []
    holding: set[int] = set()
    is_full = False
    for index, text in zip(texts.indexes, texts.texts, strict=True):
        check()
        for hit in wanted.hits(text, check=check):
            counts[hit.term] += 1
            holding.add(index)
            if len(shown) < MAX_ITEMS:
                shown.append(_match(text, hit, index))
            if is_full := counts.total() >= MAX_HITS:
                break
        if is_full:
            break
    matches: list[JSONValue] = list(fitting(shown, most=MAX_ITEMS))
    output: JSONObject = {
        "matches": matches,
        "matches_cut": len(matches) < counts.total(),
        "counts": {name: counts[name] for name in wanted.names},
        "count": counts.total(),
        "text_count": len(holding),
        "coverage": round(len(holding) / len(texts.texts), 4),
        "method": remarks(
            _method_of(wanted),
            f"{len(holding)} of {len(texts.texts)} texts hold any.",
            f"Counting ended at {MAX_HITS:,}." if is_full else "",
            texts.remark,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _match(text: str, hit: Hit, index: int) -> JSONObject:
    """Return the form of the catalogue; a value that is hit in part is shown whole."""
    left = max(0, hit.start - _WINDOW)
    window = text[left : hit.end + _WINDOW]
    near = list(spans(window, check=go_on))
    start, end = whole(near, hit.start - left, hit.end - left)
    return {
        "term": hit.term,
        "value": window[start:end],
        "index": index,
        "start": left + start,
        "end": left + end,
        "around": around(text, left + start, left + end, reach=_REACH),
    }


def _filter_texts(given: JSONObject, check: Check) -> Analysis:
    """Keep the texts that hold words or a pattern, and lack others."""
    texts = read_texts(given.get("texts"))
    lacks = names(given, "lacks")
    unwanted = Terms(lacks) if lacks else None
    has_lacks_only = (
        bool(lacks) and "pattern" not in given and not given.get("contains")
    )
    wanted = None if has_lacks_only else _wanted(given, "contains", texts)
    is_all = choice(given, "match", ("any", "all"), default="any") == "all"
    kept = []
    for index, text in zip(texts.indexes, texts.texts, strict=True):
        check()
        found = (
            {hit.term for hit in wanted.hits(text, check=check)} if wanted else set()
        )
        needed = len(wanted.names) if wanted and is_all else min(1, bool(wanted))
        is_bad = bool(unwanted and next(unwanted.hits(text, check=check), None))
        if len(found) >= needed and not is_bad:
            kept.append((index, text))
    listed, is_cut = as_texts(kept, count=len(kept), most=MAX_ITEMS)
    output: JSONObject = {
        "texts": listed,
        "texts_cut": is_cut,
        "kept_count": len(kept),
        "left_out_count": len(texts.texts) - len(kept),
        "count": len(texts.texts),
        "coverage": 1.0,
        "method": remarks(
            _method_of(wanted) if wanted else WORDS_METHOD,
            _said("all of" if is_all else "any of", wanted.names if wanted else ()),
            _said("none of", lacks),
            _only_first(is_cut),
            texts.remark,
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _said(how: str, terms: tuple[str, ...] | list[str]) -> str:
    shown = ", ".join(f"“{term[:100]}”" for term in terms[:20])
    more = ", …" if len(terms) > 20 else ""
    return f"Kept: {how} {shown}{more}." if terms else ""


def _only_first(is_cut: bool) -> str:  # noqa: FBT001  # a remark or none
    return "Only the first texts fit the output." if is_cut else ""


def _wanted(given: JSONObject, key: str, texts: Texts) -> Terms | Pattern:
    """Return what to look for: a pattern, given words, or those the question quotes.

    Raises:
        MissingInputError: none of them is there.
        ArmInputError: one of them cannot be looked for.
    """
    if given.get("pattern") is not None:
        refuse_too_much(texts.texts)
        return Pattern(given["pattern"])
    words = names(given, key) or quoted(question_of(given))
    if not words:
        raise MissingInputError(
            f"There is nothing to look for: supply “{key}”, a list of words, or "
            "“pattern”."
        )
    return Terms(words)


def _method_of(wanted: Terms | Pattern) -> str:
    return _PATTERN_METHOD if isinstance(wanted, Pattern) else WORDS_METHOD


SEARCH_WORK: Mapping[str, Work] = {
    "redact": _redact,
    "find": _find,
    "filter_texts": _filter_texts,
}
