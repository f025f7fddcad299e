"""What all validators share: the type of one, and what must not stand beside a value."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

Span = tuple[int, int]
Validator = Callable[[str, int, int], Span | None]
# How far a cue such as "passport number" may stand before what it announces.
CUE_REACH = 48


@dataclass(frozen=True)
class Neighbours:
    """What must not stand right before or right after a value."""

    before: re.Pattern[str] | None = None
    after: re.Pattern[str] | None = None

    def surround(self, text: str, start: int, end: int) -> bool:
        """Return whether one of them does."""
        if self.before and self.before.search(text, max(0, start - 12), start):
            return True
        return bool(self.after and self.after.match(text, end, end + 12))


def neighbours(*, before: str = "", after: str = "") -> Neighbours:
    """Return the neighbours as compiled expressions."""
    return Neighbours(
        re.compile(rf"(?:{before})\Z") if before else None,
        re.compile(after) if after else None,
    )


def cue(words: str) -> Validator:
    """Return a check that one of these words stands shortly before, in its line."""
    pattern = re.compile(rf"\b(?:{words})\b[^\n\x00]{{0,24}}\Z", re.IGNORECASE)

    def check(text: str, start: int, end: int) -> Span | None:
        return (
            (start, end)
            if pattern.search(text, max(0, start - CUE_REACH), start)
            else None
        )

    return check
