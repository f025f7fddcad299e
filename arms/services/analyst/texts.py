"""Reading texts from a step's input, and cutting them into sentences and words."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

from arms.services.analyst.words import STOP_WORDS
from octollm.errors import ArmInputError, MissingInputError
from octollm.types import JSONValue

T = TypeVar("T")
#: Called between batches; raises when the work should stop.
Check = Callable[[], None]

TEXT_FIELDS = ("text", "review", "body", "content", "comment", "message")
MAX_TEXTS = 100_000
MAX_CHARACTERS = 20_000_000
#: Longest list of findings in one output; outputs travel through the database.
MAX_ITEMS = 1_000
_MAX_SENTENCE = 500

_SENTENCE_END = re.compile(r"(?<=[.!?…])\s+|(?<=[.!?…][\"'”\u2019)\]])\s+|\n+")
_WORD = re.compile(r"[^\W\d_]+(?:['\u2019-][^\W\d_]+)*")


def go_on() -> None:
    """Check nothing: for work too short to be stopped."""


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What an input holds to work on.

    Attributes:
        texts: the texts, none of them blank.
        indexes: where each stood in the input, counted from 0.
        left_out: how many members of the input held no text.
        field: the field that the texts were taken from, empty for plain strings.
    """

    texts: tuple[str, ...]
    indexes: tuple[int, ...]
    left_out: int
    field: str

    @property
    def remark(self) -> str:
        """One sentence per thing a reader should know, or nothing."""
        remarks = []
        if self.field:
            remarks.append(f"Texts were taken from the field “{self.field}”.")
        if self.left_out:
            total = self.left_out + len(self.texts)
            remarks.append(f"{self.left_out} of {total} items held no text.")
        return " ".join(remarks)


def read_texts(value: JSONValue) -> Texts:
    """Return the texts in a list of strings or objects, or in a single string.

    Members without text (null, blank, numbers, objects without a text field) are
    counted and left out.

    Raises:
        ArmInputError: the value is no list and no text, or it is too large.
        MissingInputError: there is no text in it.
    """
    if value is None:
        raise MissingInputError("There are no texts to work on: supply “texts”.")
    members = [value] if isinstance(value, str) else value
    if not isinstance(members, list):
        raise ArmInputError("“texts” must be a list of strings or of objects.")
    if len(members) > MAX_TEXTS:
        raise ArmInputError(f"“texts” holds more than {MAX_TEXTS:,} items.")
    found = [
        (index, text, name)
        for index, member in enumerate(members)
        for text, name in [_text_of(member)]
        if text.strip()
    ]
    if not found:
        raise MissingInputError("None of the items holds text to work on.")
    if sum(len(text) for _, text, _ in found) > MAX_CHARACTERS:
        raise ArmInputError(f"The texts exceed {MAX_CHARACTERS:,} characters.")
    return Texts(
        texts=tuple(text for _, text, _ in found),
        indexes=tuple(index for index, _, _ in found),
        left_out=len(members) - len(found),
        field=", ".join(sorted({name for _, _, name in found if name})),
    )


def _text_of(member: JSONValue) -> tuple[str, str]:
    """Return a member's text and the field it comes from."""
    if isinstance(member, str):
        return member, ""
    if not isinstance(member, dict):
        return "", ""
    fields = {key.lower(): value for key, value in member.items()}
    for name in TEXT_FIELDS:
        value = fields.get(name)
        if isinstance(value, str) and value.strip():
            return value, name
    return "", ""


def sentences(text: str) -> list[str]:
    """Return the sentences of a text; those over 500 characters are cut."""
    pieces = (piece.strip() for piece in _SENTENCE_END.split(text))
    return [part for piece in pieces if piece for part in _parts(piece)]


def _parts(sentence: str) -> Iterator[str]:
    """Cut at the last space before the limit, or at the limit."""
    start = 0
    while len(sentence) - start > _MAX_SENTENCE:
        space = sentence.rfind(" ", start + 1, start + _MAX_SENTENCE)
        end = space if space > 0 else start + _MAX_SENTENCE
        yield sentence[start:end].strip()
        start = end
    if rest := sentence[start:].strip():
        yield rest


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, without numbers and placeholders."""
    return [
        word.replace("\u2019", "'") for word in _WORD.findall(plain_text(text).lower())
    ]


_PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*_K?[1-9][0-9]*\]")


def plain_text(text: str) -> str:
    """Take out placeholders: “EMAIL” is no word of the text."""
    return _PLACEHOLDER.sub(" ", text) if "[" in text else text


def content_words(text: str) -> list[str]:
    """Return the words that carry meaning, in order."""
    return [word for word in words(text) if len(word) > 1 and word not in STOP_WORDS]


def in_batches(texts: Iterable[T], *, check: Check, size: int = 200) -> Iterator[T]:
    """Yield the members, asking ``check`` before each batch whether to go on."""
    for number, text in enumerate(texts):
        if number % size == 0:
            check()
        yield text


def each_text(texts: Texts, *, check: Check) -> Iterator[tuple[int, str]]:
    """Yield the texts with their numbers in the input, checking on the way."""
    return zip(
        texts.indexes, in_batches(texts.texts, check=check, size=50), strict=True
    )
