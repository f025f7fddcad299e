"""Words, phrases and patterns looked for in texts, each in one pass."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import re2

from arms.services.analyst.texts import Check, in_batches
from octollm.errors import ArmInputError
from octollm.types import JSONValue

WORDS_METHOD = "Whole words without case and punctuation; batter* is a beginning."
MAX_PATTERN = 500
#: Patterns are looked for in no more than this; words in everything.
MAX_PATTERN_CHARACTERS = 5_000_000
# RE2 takes time in proportion to the text and to the size of the program.
_MAX_PROGRAM = 2_000
_MAX_MEMORY = 4 << 20
_MAX_TERM_WORDS = 20
_TOKEN = re.compile(r"\w+")
_QUOTED = re.compile(r"[\"“]([^\"“”]{1,100})[\"”]|(?<!\w)'([^']{1,100})'(?!\w)")


@dataclass(frozen=True, kw_only=True)
class Hit:
    """Where a term stands in a text."""

    term: str
    start: int
    end: int


class Terms:
    """Words and phrases: whole ones, without case and punctuation; ``batter*`` begins.

    One pass over a text finds all of them, however many there are.
    """

    def __init__(self, terms: Sequence[str]) -> None:
        """Read the terms.

        Raises:
            ArmInputError: one holds no word, or too many.
        """
        self.names = tuple(dict.fromkeys(term.strip() for term in terms))
        self._phrases: dict[tuple[str, ...], str] = {}
        self._beginnings: dict[str, str] = {}
        for name in self.names:
            words = tuple(_TOKEN.findall(name.casefold()))
            if not 0 < len(words) <= _MAX_TERM_WORDS:
                raise ArmInputError(
                    f"“{name[:100]}” holds no word, or too many, to look for."
                )
            if name.endswith("*") and len(words) == 1:
                self._beginnings.setdefault(words[0], name)
            else:
                self._phrases.setdefault(words, name)
        self._sizes = sorted({len(words) for words in self._phrases})
        self._lengths = sorted({len(each) for each in self._beginnings})

    def hits(self, text: str, *, check: Check) -> Iterator[Hit]:
        """Yield every place of every term, by where it begins."""
        tokens = [
            (match.group().casefold(), match.start(), match.end())
            for match in in_batches(_TOKEN.finditer(text), check=check, size=10_000)
        ]
        places = in_batches(range(len(tokens)), check=check, size=10_000)
        for place in places:
            word, start, end = tokens[place]
            for length in self._lengths:
                if name := self._beginnings.get(word[:length]):
                    yield Hit(term=name, start=start, end=end)
                    break
            for size in self._sizes:
                if place + size > len(tokens):
                    break
                words = tuple(token for token, _, _ in tokens[place : place + size])
                if name := self._phrases.get(words):
                    yield Hit(term=name, start=start, end=tokens[place + size - 1][2])


def compiled_pattern(pattern: str) -> Any:
    """Return a pattern of RE2, whose time grows only with the length of the text.

    Raises:
        ArmInputError: it is empty, too long or too large, or not one of RE2.
    """
    if not 0 < len(pattern) <= MAX_PATTERN:
        raise ArmInputError(f"A pattern must have 1 to {MAX_PATTERN} characters.")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = _MAX_MEMORY
    try:
        compiled: Any = re2.compile(pattern, options)  # type: ignore[no-untyped-call]  # the library has no types
    except re2.error as error:
        raise ArmInputError(
            f"“{pattern[:100]}” is no regular expression of RE2, which knows no "
            "look-around and no back-references."
        ) from error
    if compiled.programsize > _MAX_PROGRAM:
        raise ArmInputError(f"“{pattern[:100]}” is too large: repeat less in it.")
    return compiled


class Pattern:
    """A regular expression of RE2, looked for line by line."""

    def __init__(self, pattern: JSONValue) -> None:
        """Compile it.

        Raises:
            ArmInputError: it is no text, too long, or not one of RE2.
        """
        if not isinstance(pattern, str):
            raise ArmInputError("“pattern” must be a text.")
        self.names = (pattern,)
        self._compiled = compiled_pattern(pattern)

    def hits(self, text: str, *, check: Check) -> Iterator[Hit]:
        """Yield every place that is not empty."""
        offset = 0
        for line in in_batches(text.splitlines(keepends=True), check=check, size=100):
            bare = line.rstrip("\r\n")
            found = in_batches(self._compiled.finditer(bare), check=check, size=1_000)
            for match in found:
                start, end = match.span()
                if start < end:
                    yield Hit(
                        term=self.names[0], start=offset + start, end=offset + end
                    )
            offset += len(line)


def refuse_too_much(texts: Sequence[str]) -> None:
    """Keep patterns off texts that would take too long.

    Raises:
        ArmInputError: the texts are too large for a pattern.
    """
    if sum(map(len, texts)) > MAX_PATTERN_CHARACTERS:
        raise ArmInputError(
            f"A pattern is looked for in at most {MAX_PATTERN_CHARACTERS:,} "
            "characters; give words instead."
        )


def quoted(question: str) -> list[str]:
    """Return what stands in quotation marks in a question, in order."""
    found = (one or other for one, other in _QUOTED.findall(question))
    return [term for term in found if _TOKEN.search(term)]
