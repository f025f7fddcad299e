"""Deciding conditions on a result: one function per kind of condition."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import re2

from arms.services.judge import fields
from arms.services.judge.conditions import (
    All,
    Condition,
    Counted,
    Equals,
    Exists,
    InRange,
    Matches,
    Mentions,
    NoPersonalData,
    ValidJson,
)
from arms.services.judge.fields import Found, NotFound
from arms.services.judge.privacy import check_personal_data
from arms.services.judge.verdicts import Ruling, clip, decided, not_checked
from octollm.types import JSONObject, JSONValue

# Words that exclude one another, so that the one is not the other.
_LABEL_WORDS = (
    "true false yes no positive negative neutral mixed undecided low medium high "
    "pass fail passed failed"
)
_LABELS = frozenset(_LABEL_WORDS.split())
_COUNTERS: Mapping[str, Callable[[str], int]] = {
    "word": lambda text: len(text.split()),
    "character": len,
    "letter": lambda text: sum(map(str.isalpha, text)),
    "sentence": lambda text: len(re.findall(r"[^.!?…\s][^.!?…]*(?:[.!?…]+|$)", text)),
    "line": lambda text: len(text.splitlines()),
    "paragraph": lambda text: len(re.findall(r"\S[^\n]*(?:\n(?!\s*\n)|$|\n)+", text)),
}
_ITEMS = frozenset({"item", "entry", "element", "row", "record", "result"})


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is judged.

    Attributes:
        result: as it is stored, with placeholders.
        outputs: what each step gave, by step id.
        revealed_result: as its owner will see it, if that is known.
    """

    result: JSONObject
    outputs: Mapping[str, JSONValue]
    revealed_result: JSONObject | None = None

    def find(self, name: str, wanted: fields.Wanted) -> Found | NotFound:
        """Return the value that a name means."""
        return fields.find_field(
            name, result=self.result, outputs=self.outputs, wanted=wanted
        )


def check(condition: Condition, subject: Subject) -> Ruling:
    """Decide one condition."""
    checker = _CHECKERS[type(condition)]
    return checker(condition, subject)


def _in_range(condition: InRange, subject: Subject) -> Ruling:
    """Compare a field's number with the bounds."""
    found = subject.find(condition.subject, fields.is_number)
    if isinstance(found, NotFound):
        return not_checked(found.reason, method="range")
    if not isinstance(found.value, int | float) or isinstance(found.value, bool):
        evidence = f"{found.place} is no number: {_shown(found.value)}."
        return decided(is_met=False, evidence=evidence, method="range")
    return decided(
        is_met=condition.bounds.holds(found.value),
        evidence=f"{found.place} = {found.value:g}; allowed: {condition.bounds}.",
        method="range",
    )


def _counted(condition: Counted, subject: Subject) -> Ruling:
    """Count the words, sentences or members that the criterion speaks of."""
    unit = re.sub(r" (?:long|in length|in total|or so|found)$", "", condition.unit)
    singular = unit.removesuffix("s") if unit != "entries" else "entry"
    if singular in _COUNTERS:
        return _counted_in_text(condition, subject, unit=singular)
    if condition.subject and singular not in _ITEMS:
        reason = f"It is not clear what counts as {unit} in {condition.subject}."
        return not_checked(reason, method="count")
    if condition.subject:
        found = subject.find(condition.subject, fields.is_list)
    else:
        found = subject.find(unit, _is_countable)
        if isinstance(found, NotFound) and singular in _ITEMS:
            found = fields.sole_field(
                subject.result, wanted=fields.is_list, kind="list"
            )
    return _counted_members(condition, found)


def _counted_members(condition: Counted, found: Found | NotFound) -> Ruling:
    """Compare the length of a list, or a count that is there already."""
    if isinstance(found, NotFound):
        return not_checked(found.reason, method="count")
    value = found.value
    if isinstance(value, list | dict):
        number, what = len(value), "members"
    elif isinstance(value, int) and not isinstance(value, bool):
        number, what = value, "by its own count"
    else:
        reason = f"{found.place} cannot be counted: {_shown(value)}."
        return not_checked(reason, method="count")
    return decided(
        is_met=condition.bounds.holds(number),
        evidence=f"{found.place}: {number} {what}; allowed: {condition.bounds}.",
        method="count",
    )


def _counted_in_text(condition: Counted, subject: Subject, *, unit: str) -> Ruling:
    """Count words, sentences and the like in a text."""
    found = (
        subject.find(condition.subject, fields.is_text)
        if condition.subject
        else fields.sole_field(subject.result, wanted=fields.is_text, kind="text")
    )
    if isinstance(found, NotFound):
        return not_checked(found.reason, method=f"count of {unit}s")
    if not isinstance(found.value, str):
        reason = f"{found.place} is no text: {_shown(found.value)}."
        return not_checked(reason, method=f"count of {unit}s")
    number = _COUNTERS[unit](found.value)
    return decided(
        is_met=condition.bounds.holds(number),
        evidence=f"{found.place}: {number} {unit}s; allowed: {condition.bounds}.",
        method=f"count of {unit}s",
    )


def _mentions(condition: Mentions, subject: Subject) -> Ruling:
    """Look for texts, whole words and whatever their case."""
    scope = _texts(condition.subject, subject)
    if isinstance(scope, NotFound):
        return not_checked(scope.reason, method="text search")
    texts, place = scope
    there = [text for text in condition.texts if _occurs(text, texts)]
    absent = [text for text in condition.texts if text not in there]
    has_enough = not absent if condition.needs_all else bool(there)
    evidence = f"In {place}: {_listed(there)} found, {_listed(absent)} not found."
    if not condition.is_literal and not there:
        reason = f"{evidence} It may be said in other words."
        return not_checked(reason, method="text search")
    return decided(
        is_met=has_enough != condition.is_negated,
        evidence=evidence,
        method="text search",
    )


def _matches(condition: Matches, subject: Subject) -> Ruling:
    """Search with RE2, whose time grows only with the length of the text."""
    scope = _texts(condition.subject, subject)
    if isinstance(scope, NotFound):
        return not_checked(scope.reason, method="RE2 pattern")
    options = re2.Options()
    options.log_errors = False
    options.max_mem = 8 << 20
    try:
        pattern = re2.compile(condition.pattern, options)  # type: ignore[no-untyped-call]  # the library has no types
    except re2.error:
        return not_checked("The pattern is not one of RE2.", method="RE2 pattern")
    texts, place = scope
    is_there = any(pattern.search(text) for text in texts)
    return decided(
        is_met=is_there != condition.is_negated,
        evidence=f"The pattern is {'found' if is_there else 'not found'} in {place}.",
        method="RE2 pattern",
    )


def _equals(condition: Equals, subject: Subject) -> Ruling:
    """Compare a field with a value; words are only told apart if they exclude."""
    found = subject.find(condition.subject, fields.anything)
    if isinstance(found, NotFound):
        return not_checked(found.reason, method="equality")
    actual, expected = _plain(found.value), condition.value.strip().casefold()
    evidence = f"{found.place} = {_shown(found.value)}."
    is_same = actual == expected or _same_number(actual, expected)
    is_label = {actual, expected} <= _LABELS
    is_comparable = condition.is_literal or is_label or is_number_text(expected)
    if not is_same and not is_comparable:
        return not_checked(f"{evidence} It may mean the same.", method="equality")
    return decided(
        is_met=is_same != condition.is_negated, evidence=evidence, method="equality"
    )


def _exists(condition: Exists, subject: Subject) -> Ruling:
    """See whether a field is there and holds something."""
    found = subject.find(condition.subject, fields.anything)
    if isinstance(found, NotFound):
        return not_checked(found.reason, method="presence")
    is_empty = found.value is None or found.value in ("", [], {})
    return decided(
        is_met=not is_empty,
        evidence=f"{found.place} = {_shown(found.value)}.",
        method="presence",
    )


def _valid_json(condition: ValidJson, subject: Subject) -> Ruling:
    """Parse a text as JSON; what is no text came as JSON."""
    if not condition.subject:
        evidence = f"The result is a JSON object of {len(subject.result)} fields."
        return decided(is_met=True, evidence=evidence, method="JSON parser")
    found = subject.find(condition.subject, fields.anything)
    if isinstance(found, NotFound):
        return not_checked(found.reason, method="JSON parser")
    problem = ""
    if isinstance(found.value, str):
        try:
            json.loads(found.value)
        except (ValueError, RecursionError) as error:
            problem = f" ({type(error).__name__})"
    return decided(
        is_met=not problem,
        evidence=f"{found.place} is {'not ' if problem else ''}JSON{problem}.",
        method="JSON parser",
    )


def _no_personal_data(condition: NoPersonalData, subject: Subject) -> Ruling:
    """Scan what the owner will see."""
    return check_personal_data(
        subject.result, revealed=subject.revealed_result, types=condition.types
    )


def _all(condition: All, subject: Subject) -> Ruling:
    """Join several: one that fails decides, one that is unknown leaves it open."""
    rulings = [
        (
            check(part, subject)
            if part is not None
            else not_checked("A part of the criterion was not understood.")
        )
        for part in condition.parts
    ]
    evidence = " ".join(ruling.evidence for ruling in rulings)
    method = ", ".join(dict.fromkeys(ruling.method for ruling in rulings))
    states = {ruling.state for ruling in rulings}
    if "not_met" in states:
        return decided(is_met=False, evidence=evidence, method=method)
    if "not_checked" in states:
        return not_checked(evidence, method=method)
    return decided(is_met=True, evidence=evidence, method=method)


def _texts(name: str, subject: Subject) -> tuple[list[str], str] | NotFound:
    """Return the texts to search and what to call them."""
    if not name:
        return list(fields.texts_of(subject.result)), "the result"
    found = subject.find(name, fields.anything)
    if isinstance(found, NotFound):
        return found
    return list(fields.texts_of(found.value)), found.place


def _occurs(text: str, texts: list[str]) -> bool:
    """Say whether a text stands in one of the texts, not inside a longer word."""
    pattern = re.compile(rf"(?<!\w){re.escape(text.casefold())}(?!\w)")
    return any(pattern.search(each.casefold()) for each in texts)


def _is_countable(value: JSONValue) -> bool:
    """Say whether a value has members or is a count."""
    return isinstance(value, list | dict | int) and not isinstance(value, bool)


def _plain(value: JSONValue) -> str:
    """Return a value as people write it."""
    if isinstance(value, str):
        return value.strip().casefold()
    return json.dumps(value).casefold()


def is_number_text(text: str) -> bool:
    """Say whether a text is a plain number."""
    return re.fullmatch(r"[-+]?\d[\d,]*(?:\.\d+)?", text) is not None


def _same_number(first: str, second: str) -> bool:
    """Say whether two texts are the same number, such as 5 and 5.0."""
    if not (is_number_text(first) and is_number_text(second)):
        return False
    return float(first.replace(",", "")) == float(second.replace(",", ""))


def _shown(value: JSONValue) -> str:
    """Write a value for a reader."""
    return clip(json.dumps(value, ensure_ascii=False), 120)


def _listed(texts: list[str]) -> str:
    """Quote texts for a reader."""
    return ", ".join(f"“{clip(text, 60)}”" for text in texts) or "nothing"


_Checker = Callable[[Any, Subject], Ruling]
_CHECKERS: Mapping[type, _Checker] = {
    InRange: _in_range,
    Counted: _counted,
    Mentions: _mentions,
    Matches: _matches,
    Equals: _equals,
    Exists: _exists,
    ValidJson: _valid_json,
    NoPersonalData: _no_personal_data,
    All: _all,
}
