"""Text as it reads, in place of text as it is written, with a way back.

Full-width digits, ligatures, accents, look-alike letters, zero-width and
bidirectional control characters hide a value or an order from a pattern but not
from a reader or a model. Spans found in the normalised text are mapped to code
points of the original.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field, replace

from reflex.folding import fold

# Characters that show nothing: soft hyphen, zero-width, bidirectional controls,
# invisible operators, variation selectors, the tags that copy no character.
_INVISIBLE = (
    "\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e001f\U000e007f\U000e0100-\U000e01ef"
)
_INVISIBLE_CHARACTER = re.compile(f"[{_INVISIBLE}]")
# "Tags" are an invisible copy of ASCII that models can read.
_TAG_OFFSET = 0xE0000
_TAG = re.compile("[\U000e0020-\U000e007e]")
# A letter under marks that make no other letter of it.
_DECORATED = re.compile(
    "[A-Za-z0-9][\u0300-\u036f\u0488\u0489\u1ab0-\u1aff\u20d0-\u20ff]"
)
# Where anything can change: characters beyond ASCII, with what they combine with.
_RUN = re.compile(r"[\x00-\x7f]?[^\x00-\x7f]+")


@dataclass(frozen=True, kw_only=True)
class NormalizedText:
    """A normalised text and its blocks.

    A block is a stretch that was copied as it is, or one changed cluster. Block
    ``i`` starts at ``starts[i]`` in the normalised text and stands for
    ``original_starts[i]`` to ``original_ends[i]``.
    """

    text: str
    starts: list[int] = field(repr=False)
    original_starts: list[int] = field(repr=False)
    original_ends: list[int] = field(repr=False)
    is_copy: list[bool] = field(repr=False)

    def original_span(self, start: int, end: int) -> tuple[int, int]:
        """Return where ``start`` to ``end``, not empty, lies in the original."""
        first = bisect_right(self.starts, start) - 1
        last = bisect_right(self.starts, end - 1) - 1
        original_start = self.original_starts[first]
        if self.is_copy[first]:
            original_start += start - self.starts[first]
        original_end = self.original_ends[last]
        if self.is_copy[last]:
            original_end = self.original_starts[last] + end - self.starts[last]
        return original_start, original_end


def normalize(text: str) -> NormalizedText | None:
    """Return the normalised text, or nothing when normalising changes nothing."""
    if text.isascii():
        return None
    folded = fold(text)
    builder = Builder(folded)
    if not _is_plain(folded):
        for run in _RUN.finditer(folded):
            if not _is_plain(run.group()):
                for start, end in _clusters(run.group(), run.start()):
                    builder.change(start, end, _changed(folded[start:end]))
    built = builder.build()
    if built is not None:
        return replace(built, text=fold(built.text))
    return None if folded == text else same_places(folded)


def same_places(text: str) -> NormalizedText:
    """Return a text whose every character stands where its original does."""
    length = len(text)
    return NormalizedText(
        text=text,
        starts=[0],
        original_starts=[0],
        original_ends=[length],
        is_copy=[True],
    )


class Builder:
    """Collects the blocks of a changed text from left to right."""

    def __init__(self, original: str) -> None:
        """Start with all of the original to come."""
        self._original = original
        self._parts: list[str] = []
        self._length = 0
        self._done = 0
        self._blocks: list[tuple[int, int, int, bool]] = []

    def change(self, start: int, end: int, text: str) -> None:
        """Put ``text`` in place of a stretch after all that were changed before."""
        if text == self._original[start:end]:
            return
        self._copy_to(start)
        self._append(start, end, text, is_copy=False)

    def build(self) -> NormalizedText | None:
        """Return the changed text; nothing when nothing was changed."""
        if not self._blocks:
            return None
        self._copy_to(len(self._original))
        starts, original_starts, original_ends, copies = zip(*self._blocks, strict=True)
        return NormalizedText(
            text="".join(self._parts),
            starts=list(starts),
            original_starts=list(original_starts),
            original_ends=list(original_ends),
            is_copy=list(copies),
        )

    def _copy_to(self, position: int) -> None:
        if position > self._done:
            text = self._original[self._done : position]
            self._append(self._done, position, text, is_copy=True)

    def _append(self, start: int, end: int, text: str, *, is_copy: bool) -> None:
        self._blocks.append((self._length, start, end, is_copy))
        self._parts.append(text)
        self._length += len(text)
        self._done = end


def _is_plain(run: str) -> bool:
    return (
        unicodedata.is_normalized("NFKC", run)
        and _INVISIBLE_CHARACTER.search(run) is None
        and _TAG.search(run) is None
        and _DECORATED.search(run) is None
    )


def _clusters(run: str, offset: int) -> list[tuple[int, int]]:
    """Return the spans of base characters with the marks that follow them."""
    starts = [
        i
        for i, character in enumerate(run)
        if i == 0 or not unicodedata.combining(character)
    ]
    return [
        (offset + start, offset + end)
        for start, end in zip(starts, [*starts[1:], len(run)], strict=True)
    ]


def _changed(cluster: str) -> str:
    visible = _INVISIBLE_CHARACTER.sub("", cluster)
    untagged = _TAG.sub(lambda m: chr(ord(m.group()) - _TAG_OFFSET), visible)
    plain = unicodedata.normalize("NFKC", untagged)
    # Marks upon a letter that has no such form of its own are decoration.
    if len(plain) > 1 and plain[0].isascii() and unicodedata.combining(plain[1]):
        return plain[0]
    return plain
