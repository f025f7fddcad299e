"""Comparing two texts or lists: how alike their words are, what only one holds."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass

from arms.services.analyst.texts import Check, content_words, sentences, words
from octollm.errors import ArmInputError, MissingInputError
from octollm.types import JSONValue

NAME = "cosine of word counts; units compared without case and spacing"
MAX_UNITS = 500
_MAX_CHARACTERS = 10_000_000


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """How alike two things are, 0.0 to 1.0, and which units they share or not."""

    similarity: float
    only_in_a: tuple[str, ...]
    only_in_b: tuple[str, ...]
    shared: tuple[str, ...]


def compare(a: JSONValue, b: JSONValue, *, check: Check) -> Comparison:
    """Compare two texts (by lines or sentences), lists (by members) or objects.

    Raises:
        MissingInputError: one of them is missing or blank.
        ArmInputError: one of them is too large.
    """
    units_a, units_b = read_units(a, "a"), read_units(b, "b")
    check()
    words_a, words_b = _word_counts(units_a), _word_counts(units_b)
    check()
    known_a, known_b = _by_form(units_a), _by_form(units_b)
    return Comparison(
        similarity=(
            _cosine(words_a, words_b)
            if words_a or words_b
            else _share_in_common(set(known_a), set(known_b))
        ),
        only_in_a=tuple(unit for form, unit in known_a.items() if form not in known_b),
        only_in_b=tuple(unit for form, unit in known_b.items() if form not in known_a),
        shared=tuple(unit for form, unit in known_a.items() if form in known_b),
    )


def read_units(value: JSONValue, name: str) -> list[str]:
    """Return what is compared one by one."""
    units = _raw_units(value)
    if not any(unit.strip() for unit in units):
        raise MissingInputError(f"There is nothing to compare: supply “{name}”.")
    if sum(map(len, units)) > _MAX_CHARACTERS:
        raise ArmInputError(f"“{name}” exceeds {_MAX_CHARACTERS:,} characters.")
    return [unit for unit in units if unit.strip()]


def _raw_units(value: JSONValue) -> list[str]:
    """Split a value by its kind."""
    if isinstance(value, str):
        lines = [line for line in value.splitlines() if line.strip()]
        return lines if len(lines) > 1 else sentences(value)
    if isinstance(value, list):
        return [_written(member) for member in value]
    if isinstance(value, dict):
        return [f"{key}: {_written(member)}" for key, member in value.items()]
    return [] if value is None else [_written(value)]


def _written(value: JSONValue) -> str:
    """Return a member as text; equal ones are written alike."""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def _by_form(units: list[str]) -> dict[str, str]:
    """Return the units by what makes them equal, in order, each once."""
    forms: dict[str, str] = {}
    for unit in units:
        forms.setdefault(" ".join(unit.casefold().split()), unit.strip())
    return forms


def _word_counts(units: list[str]) -> Counter[str]:
    """Count the words that carry meaning; all words if none does."""
    counted = Counter(word for unit in units for word in content_words(unit))
    return counted or Counter(word for unit in units for word in words(unit))


def _cosine(first: Counter[str], second: Counter[str]) -> float:
    """Return the cosine of the angle between two counts, 1.0 for the same words."""
    if first == second:
        return 1.0
    product = sum(count * second[word] for word, count in first.items())
    length = math.sqrt(sum(count**2 for count in first.values()))
    length *= math.sqrt(sum(count**2 for count in second.values()))
    return min(1.0, product / length) if length else 0.0


def _share_in_common(first: set[str], second: set[str]) -> float:
    """Return the share of common units, for things without words."""
    return len(first & second) / len(first | second)
