"""Personal data and secrets in texts: masked for good, and never cut in half.

The boundary around the arm conceals what the reflex finds in an output. Half a
telephone number it could not find, so whatever shows a part of a text asks here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from arms.services.analyst.texts import Check, go_on
from reflex.placeholders import LITERAL, PLACEHOLDER
from reflex.screening import Finding, find_pii

KINDS = (
    *("EMAIL", "PHONE", "IP", "MAC", "IBAN", "BANK_ACCOUNT", "ROUTING", "CARD", "SSN"),
    *("PASSPORT", "DRIVING_LICENCE", "MEDICAL_RECORD", "DATE_OF_BIRTH", "CRYPTO"),
    *("COORDINATES", "SECRET"),
)
# One call over megabytes would hold everything at once. What spans two pieces is
# found by the overlap, which is longer than any key file.
_PIECE, _OVERLAP = 200_000, 20_000
# Addresses, numbers and most secrets are shorter.
_LONGEST = 500


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where a value stands, and of which type it is."""

    start: int
    end: int
    type: str


@dataclass(frozen=True, kw_only=True)
class Redacted:
    """A text without what was masked, and how often each type was."""

    text: str
    counts: Counter[str]


def spans(text: str, *, check: Check) -> Iterator[Span]:
    """Yield the values in a text, and the placeholders of those the arm is not shown.

    By position; none overlaps another.
    """
    done = 0
    for found in _merged(list(_values(text, check)), list(_placeholders(text))):
        if found.start >= done:
            yield found
            done = found.end


def _values(text: str, check: Check) -> Iterator[Span]:
    start = 0
    while start < len(text):
        check()
        end = start + _PIECE
        following = end
        for each in find_pii(text[start : end + _OVERLAP]):
            if start + each.start < end and each.type != LITERAL:
                yield _span(each, start)
                following = max(following, start + each.end)
        start = following


def _span(found: Finding, offset: int) -> Span:
    return Span(start=offset + found.start, end=offset + found.end, type=found.type)


def _placeholders(text: str) -> Iterator[Span]:
    for match in PLACEHOLDER.finditer(text):
        if match[1] != LITERAL:
            yield Span(start=match.start(), end=match.end(), type=match[1])


def _merged(one: list[Span], other: list[Span]) -> list[Span]:
    return sorted((*one, *other), key=lambda span: (span.start, -span.end))


def redact(text: str, kinds: Collection[str], *, check: Check) -> Redacted:
    """Return the text with each value replaced by its type, such as ``[EMAIL]``.

    A mask has no number: nobody can turn it back into the value, nor tell whether
    two masks stood for the same.

    Args:
        text: with values, or with placeholders of them.
        kinds: types to mask.
        check: asked between pieces whether to go on.
    """
    parts: list[str] = []
    counts: Counter[str] = Counter()
    done = 0
    for span in spans(text, check=check):
        if span.type in kinds:
            parts += (text[done : span.start], f"[{span.type}]")
            counts[span.type] += 1
            done = span.end
    return Redacted(text="".join((*parts, text[done:])), counts=counts)


def without_values(text: str, *, check: Check) -> str:
    """Return the text with spaces for its values: “doe” of an address is no word."""
    parts: list[str] = []
    done = 0
    for span in spans(text, check=check):
        parts += (text[done : span.start], " ")
        done = span.end
    return "".join((*parts, text[done:]))


def whole(found: Sequence[Span], start: int, end: int) -> tuple[int, int]:
    """Return the stretch, extended so that it cuts no value."""
    touched = [span for span in found if span.start < end and span.end > start]
    return (
        min((start, *(span.start for span in touched))),
        max((end, *(span.end for span in touched))),
    )


def around(text: str, start: int, end: int, *, reach: int) -> str:
    """Return what stands around a stretch of a text; no value in it is cut.

    Args:
        text: the whole text.
        start: of the stretch.
        end: the offset after it.
        reach: how many characters before and after it are shown at most, besides
            values that begin or end there.
    """
    left, right = max(0, start - reach - _LONGEST), end + reach + _LONGEST
    window = text[left:right]
    low, high = whole(
        list(spans(window, check=go_on)),
        max(0, start - reach - left),
        min(len(window), end + reach - left),
    )
    return " ".join(window[low:high].split())


def cut(text: str, *, most: int) -> str:
    """Return the beginning of a text, at most ``most`` characters; cuts no value."""
    if len(text) <= most:
        return text
    left = max(0, most - _LONGEST)
    window = text[left : most + _LONGEST]
    low, _ = whole(list(spans(window, check=go_on)), most - left, most - left + 1)
    return text[: left + low]
