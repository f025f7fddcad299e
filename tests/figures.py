"""Figures that tests saw; the run prints them when it ends."""

from __future__ import annotations

_seen: list[str] = []


def note(text: str) -> None:
    """Keep one line for the end of the run."""
    _seen.append(text)


def seen() -> list[str]:
    """Return the lines so far, in order."""
    return list(_seen)
