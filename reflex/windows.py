"""A text longer than one request may hold, looked at in stretches that overlap.

A stretch ends between two texts of a document where it can, for no rule looks beyond
that. Where one text is longer, stretches overlap by more than any match is long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace

from reflex.found import Found
from reflex.rules import END

# What one request may hold, in code points.
MAX_TEXT = 100_000
OVERLAP = 10_000


def find_in_windows(text: str, find: Callable[[str], list[Found]]) -> list[Found]:
    """Return what ``find`` finds in the whole text, by position.

    Values do not overlap each other.
    """
    if len(text) <= MAX_TEXT:
        return without_overlaps(find(text))
    found: list[Found] = []
    for start, end, owned_from, owned_to in _windows(text):
        for each in find(text[start:end]):
            if owned_from <= each.start + start < owned_to:
                moved = replace(each, start=each.start + start, end=each.end + start)
                found.append(moved)
    found.sort(key=lambda each: (each.start, each.end, each.rule_id))
    return without_overlaps(found)


def _windows(text: str) -> Iterator[tuple[int, int, int, int]]:
    """Yield start and end of each window, and where matches must start to be its own."""
    start = owned_from = 0
    while start + MAX_TEXT < len(text):
        end = start + MAX_TEXT
        between = text.rfind(END, max(start, owned_from), end) + 1
        if between > start + OVERLAP:
            yield start, between, owned_from, between
            start = owned_from = between
        else:
            owned_to = end - OVERLAP // 2
            yield start, end, owned_from, owned_to
            start, owned_from = end - OVERLAP, owned_to
    yield start, len(text), owned_from, len(text)


def without_overlaps(found: Iterable[Found]) -> list[Found]:
    """Return the findings, by position, with values that overlap made one."""
    kept: list[Found] = []
    last = -1
    for each in found:
        if not each.is_value:
            kept.append(each)
        elif last >= 0 and each.start < kept[last].end:
            kept[last] = replace(kept[last], end=max(kept[last].end, each.end))
        else:
            last = len(kept)
            kept.append(each)
    return kept
