"""The analyst's work on what texts have in common: repeats left out, changes shown."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping

from arms.services.analyst import differences, duplicates
from arms.services.analyst.analysis import Analysis, Work, remarks
from arms.services.analyst.bounds import as_texts, fitting
from arms.services.analyst.compare import read_units
from arms.services.analyst.texts import MAX_ITEMS, Check, Texts, read_texts
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

_EXACT = "Exact, as the method defines it."
_MAX_LINES = 20_000
_LEAST_SIMILARITY, _SIMILARITY = 0.5, 0.8


def _deduplicate_texts(given: JSONObject, check: Check) -> Analysis:
    """Keep the first of texts that are the same, or nearly."""
    texts = read_texts(given.get("texts"))
    similarity = _similarity(given)
    result = duplicates.find_duplicates(texts.texts, similarity=similarity, check=check)
    repeats = {each.place for each in result.found}
    kept = [
        (texts.indexes[place], text)
        for place, text in enumerate(texts.texts)
        if place not in repeats
    ]
    listed, is_cut = as_texts(kept, count=len(kept), most=MAX_ITEMS)
    exact = sum(each.is_exact for each in result.found)
    coverage = result.compared_count / len(texts.texts)
    output: JSONObject = {
        "texts": listed,
        "texts_cut": is_cut,
        **_groups(texts, result),
        "exact_count": exact,
        "near_count": len(result.found) - exact,
        "kept_count": len(kept),
        "count": len(texts.texts),
        "coverage": round(coverage, 4),
        "method": remarks(
            f"The same without case and spacing, or {duplicates.NAME} of at least "
            f"{similarity:g}; the first is kept.",
            (
                f"{len(texts.texts) - result.compared_count} long texts were compared as "
                "wholes only."
                if coverage < 1
                else ""
            ),
            texts.remark,
        ),
    }
    reason = "The share of the texts that were compared run by run."
    return Analysis(output=output, confidence=coverage, reason=reason)


def _groups(texts: Texts, result: duplicates.Duplicates) -> JSONObject:
    """Return what repeats what, by the numbers that the texts have in the input."""
    groups: defaultdict[int, list[JSONValue]] = defaultdict(list)
    for each in result.found:
        groups[texts.indexes[each.kept]].append(
            {"index": texts.indexes[each.place], "similarity": each.similarity}
        )
    written: list[JSONValue] = [
        {"kept": index, "duplicates": members[:MAX_ITEMS]}
        for index, members in sorted(groups.items())
    ]
    shown: list[JSONValue] = list(fitting(written, most=MAX_ITEMS))
    is_long = any(len(members) > MAX_ITEMS for members in groups.values())
    return {"groups": shown, "groups_cut": is_long or len(shown) < len(groups)}


def _similarity(given: JSONObject) -> float:
    value = given.get("similarity")
    if value is None:
        return _SIMILARITY
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not _LEAST_SIMILARITY <= float(str(value)) <= 1:
        raise ArmInputError(
            f"“similarity” must be a number from {_LEAST_SIMILARITY} to 1."
        )
    return float(str(value))


def _lines(a: JSONValue, b: JSONValue) -> tuple[list[str], list[str]]:
    """Return what is compared: lines if one of two texts has several, else units.

    Raises:
        MissingInputError: one of them is missing or blank.
        ArmInputError: one of them is too large.
    """
    units = read_units(a, "a"), read_units(b, "b")
    if isinstance(a, str) and isinstance(b, str) and ("\n" in a or "\n" in b):
        return a.splitlines(), b.splitlines()
    one, other = ([" ".join(unit.splitlines()) for unit in each] for each in units)
    return one, other


def _diff(given: JSONObject, check: Check) -> Analysis:
    """Show what was added and removed between two texts."""
    a, b = _lines(given.get("a"), given.get("b"))
    check()
    found = differences.Differences(a, b, check=check)
    unchanged = sum(block.size for block in found.get_matching_blocks())
    lines = list(differences.unified(a, b, found))
    check()
    shown = fitting(lines, most=_MAX_LINES)
    output: JSONObject = {
        "diff": "\n".join(shown),
        "diff_cut": len(shown) < len(lines),
        "added_count": len(b) - unchanged,
        "removed_count": len(a) - unchanged,
        "unchanged_count": unchanged,
        "is_same": len(a) == len(b) == unchanged,
        "method": remarks(
            f"Unified diff by {differences.NAME}; texts of one line are compared by "
            "sentences, a list by members.",
            (
                ""
                if found.is_exact
                else "Long stretches of repeated lines count as replaced."
            ),
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


LIKENESS_WORK: Mapping[str, Work] = {
    "deduplicate_texts": _deduplicate_texts,
    "diff": _diff,
}
