"""Cutting a text into passages that are small enough to cite."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from reflex.placeholders import PLACEHOLDER

#: Longest passage in characters: a few paragraphs, and far from the limits of tsvector.
MAX_LENGTH = 1_000
_LONGEST_PLACEHOLDER = 48
# The better places first.
_CUTS = tuple(re.compile(cut) for cut in (r"\n\s*\n", r"\n", r"(?<=[.!?…])\s", r"\s"))


@dataclass(frozen=True, kw_only=True)
class Span:
    """Characters ``start`` to ``end`` of a text, ``end`` not included."""

    start: int
    end: int


def cut(text: str) -> Iterator[Span]:
    """Yield passages in order that together hold everything but outer white space.

    A passage ends at a blank line, a line's end, a sentence's end or a space, in this
    order, and inside a word only where a thousand characters know no space. It never
    ends inside a placeholder.
    """
    start = _next_visible(text, 0)
    while start < len(text):
        end = _end(text, start)
        visible = len(text[start:end].rstrip())
        yield Span(start=start, end=start + visible)
        start = _next_visible(text, end)


_VISIBLE = re.compile(r"\S")


def _next_visible(text: str, start: int) -> int:
    """Return where the next character stands that is no white space."""
    match = _VISIBLE.search(text, start)
    return match.start() if match else len(text)


def _end(text: str, start: int) -> int:
    """Return where the passage that begins at ``start`` should end."""
    limit = start + MAX_LENGTH
    if limit >= len(text):
        return len(text)
    for pattern in _CUTS:
        # Not in the first half: that would leave many tiny passages.
        places = [m.end() for m in pattern.finditer(text, start + 1, limit)]
        if places and places[-1] > start + MAX_LENGTH // 2:
            return places[-1]
    return _before_placeholder(text, start, limit)


def _before_placeholder(text: str, start: int, limit: int) -> int:
    """Return ``limit``, or the beginning of a placeholder that it would cut."""
    opening = text.rfind("[", max(start + 1, limit - _LONGEST_PLACEHOLDER), limit)
    match = PLACEHOLDER.match(text, opening) if opening >= 0 else None
    return opening if match and match.end() > limit else limit
