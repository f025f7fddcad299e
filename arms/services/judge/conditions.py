"""What a criterion can mean when it can be computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """A stretch of numbers; ``None`` is no bound on that side.

    Attributes:
        is_percent: whether the bounds were written in percent.
    """

    low: float | None = None
    high: float | None = None
    excludes_low: bool = False
    excludes_high: bool = False
    is_percent: bool = False

    def holds(self, number: float) -> bool:
        """Say whether the number lies within; a share is compared in percent."""
        # 0.85 is 85 %; a value above 1 was written in percent itself.
        scaled = number * 100 if self.is_percent and abs(number) <= 1 else number
        return self._holds_low(scaled) and self._holds_high(scaled)

    def _holds_low(self, number: float) -> bool:
        if self.low is None:
            return True
        return number > self.low if self.excludes_low else number >= self.low

    def _holds_high(self, number: float) -> bool:
        if self.high is None:
            return True
        return number < self.high if self.excludes_high else number <= self.high

    def __str__(self) -> str:
        """Write it as an interval."""
        left, right = "(" if self.excludes_low else "[", (
            ")" if self.excludes_high else "]"
        )
        low = "-∞" if self.low is None else f"{self.low:g}"
        high = "∞" if self.high is None else f"{self.high:g}"
        return f"{left}{low}, {high}{right}{' %' if self.is_percent else ''}"


@dataclass(frozen=True, kw_only=True)
class InRange:
    """The number in the field ``subject`` lies within bounds."""

    subject: str
    bounds: Bounds


@dataclass(frozen=True, kw_only=True)
class Counted:
    """There are so many words, sentences, items … in the field ``subject``.

    An empty subject means the unit itself names the field (“5 keywords”), or the
    result's only text or list.
    """

    subject: str
    unit: str
    bounds: Bounds


@dataclass(frozen=True, kw_only=True)
class Mentions:
    """Texts occur in the field ``subject``, or anywhere in the result.

    Attributes:
        is_literal: whether the texts were quoted; without quotes a text that does
            not occur may still be meant in other words.
    """

    subject: str
    texts: tuple[str, ...]
    needs_all: bool = True
    is_negated: bool = False
    is_literal: bool = True


@dataclass(frozen=True, kw_only=True)
class Matches:
    """A regular expression of RE2 is found in the field, or anywhere."""

    subject: str
    pattern: str
    is_negated: bool = False


@dataclass(frozen=True, kw_only=True)
class Equals:
    """The field holds this value, whatever the case of its letters.

    Attributes:
        is_literal: whether the value was quoted or stood behind an equals sign;
            “the tone is friendly” may be true of another word.
    """

    subject: str
    value: str
    is_negated: bool = False
    is_literal: bool = True


@dataclass(frozen=True, kw_only=True)
class Exists:
    """The field is there and not empty."""

    subject: str


@dataclass(frozen=True, kw_only=True)
class ValidJson:
    """The field, or the whole result, is JSON."""

    subject: str


@dataclass(frozen=True, kw_only=True)
class NoPersonalData:
    """Nothing personal shows; ``types`` limits what counts, empty means all."""

    types: frozenset[str] = frozenset()


@dataclass(frozen=True, kw_only=True)
class All:
    """Several conditions joined by “and”; ``None`` stands for one not understood."""

    parts: tuple[Condition | None, ...]


Condition: TypeAlias = (
    InRange
    | Counted
    | Mentions
    | Matches
    | Equals
    | Exists
    | ValidJson
    | NoPersonalData
    | All
)
