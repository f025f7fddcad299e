"""From a model's text to a draft; what cannot be read is said, never guessed."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from octollm.errors import InvalidPlanError
from octollm.storable import why_not_storable
from planner.draft import PlanDraft
from planner.plan import reference

MAX_TEXT = 100_000
# The repairer takes 13 s for 16 KB of text made to slow it and 2 s for 8 KB; ten
# steps take 5 KB.
MAX_REPAIRED = 8_000

_FENCE = re.compile(r"```(?:json|JSON)?[ \t]*\r?\n(.*?)```", re.DOTALL)


def parse_draft(text: str) -> PlanDraft:
    """Return the draft in a complete answer of a model.

    Prose around the JSON, code fences, comments and small slips of syntax are
    passed over. Never hand in an answer that was cut off: repaired, it would look
    whole.

    Raises:
        InvalidPlanError: there is no plan in it; rule ``P000``.
    """
    if len(text) > MAX_TEXT:
        raise _unreadable("the answer is too long; answer with the plan alone")
    found = _object_in(text)
    if isinstance(found, list):
        found = {"steps": found}
    if isinstance(found, dict) and isinstance(found.get("plan"), dict):
        found = found["plan"]
    if not isinstance(found, dict) or not isinstance(found.get("steps"), list):
        raise _unreadable('answer with one JSON object {"steps": [...]}')
    steps = [_step(each) for each in found["steps"]]
    # Only now: the values of inputs were texts with JSON in them.
    if fault := why_not_storable(steps):
        raise _unreadable(f"this is not JSON: {fault}")
    try:
        return PlanDraft.model_validate(
            {"steps": steps, "replaces": found.get("replaces")}
        )
    except ValidationError as error:
        raise InvalidPlanError(violations=_violations(error)) from error


def _unreadable(what: str) -> InvalidPlanError:
    return InvalidPlanError(violations=(f"P000: {what}.",))


def _object_in(text: str) -> Any:
    """Return the JSON in a text: as it is, in a fence, in prose, or repaired."""
    for candidate in _candidates(text):
        try:
            return json.loads(candidate)
        except (ValueError, RecursionError):
            continue
    return _repaired(text)


def _candidates(text: str) -> list[str]:
    fenced = [match[1] for match in _FENCE.finditer(text)]
    return [text, *fenced, *_spans(text, "{", "}"), *_spans(text, "[", "]")]


def _spans(text: str, opening: str, closing: str) -> list[str]:
    start, end = text.find(opening), text.rfind(closing)
    return [text[start : end + 1]] if 0 <= start < end else []


def _repaired(text: str) -> Any:
    from json_repair import repair_json

    fence = _FENCE.search(text)
    start = text.find("{")
    if fence is None and start < 0:
        return None
    candidate = fence[1] if fence is not None else text[start:]
    if len(candidate) > MAX_REPAIRED:
        return None
    try:
        return repair_json(candidate, return_objects=True)
    except (ValueError, RecursionError):
        return None


def _step(step: Any) -> Any:
    """Put the inputs, a list in what we ask for, into the form of a draft."""
    if not isinstance(step, Mapping) or not isinstance(step.get("inputs"), list):
        return step
    given = dict(step["input"]) if isinstance(step.get("input"), dict) else {}
    for entry in step["inputs"]:
        if isinstance(entry, Mapping) and isinstance(entry.get("name"), str):
            given[entry["name"]] = _value(entry)
    return {**step, "input": given}


def _value(entry: Mapping[str, Any]) -> Any:
    source = entry.get("from")
    if isinstance(source, str) and source.strip():
        return reference(source.strip())
    value = entry.get("value")
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        # A plain word that should have been quoted.
        return value


def _violations(error: ValidationError) -> tuple[str, ...]:
    return tuple(
        f"P000: {'.'.join(map(str, each['loc'][:4]))}: {each['msg']}."
        for each in error.errors(include_url=False, include_input=False)
    )
