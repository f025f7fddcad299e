"""How plans and failures are written for the cache, and read back with suspicion.

Redis is shared with others and no place of trust: each value carries its version
and an HMAC over itself, its kind and its key. What does not fit is no value.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import ValidationError

from octollm.errors import (
    InvalidPlanError,
    ModelAnswerError,
    ModelError,
    ModelFormatError,
    ModelMisconfiguredError,
    ModelRefusedError,
    ModelTruncatedError,
    ModelUnavailableError,
    OctoLLMError,
)
from octollm.types import JSONObject, JSONValue
from planner.draft import PlanDraft
from planner.plan import Plan, PlanningContract, step_to_json
from planner.quotation import quotes_context
from reflex.fingerprints import fingerprint
from reflex.screening import find_pii

VERSION = 1
MAX_BYTES = 32 * 1024

#: ``plan``: a draft; ``failed``: the code of a failure; ``recipe``: likewise, and
#: recipes served in the model's place.
Kind: TypeAlias = Literal["plan", "recipe", "failed"]

# Failures that a repeated request would meet again. Not among them are those of one
# caller alone: its budget, its deadline, its cancel.
_SHARED: Mapping[str, type[ModelError | InvalidPlanError]] = {
    each.code: each
    for each in (
        InvalidPlanError,
        ModelAnswerError,
        ModelFormatError,
        ModelMisconfiguredError,
        ModelRefusedError,
        ModelTruncatedError,
        ModelUnavailableError,
    )
}
# Recomputed at each hit, or true of the one plan that was made.
_OF_THE_STEP = frozenset({"estimated_cost", "estimated_time", "estimated_time_p90"})


def plan_text(plan: Plan, *, key: str, contract: PlanningContract) -> str | None:
    """Return what is kept of a model's plan, or nothing if it may not be kept.

    That is a draft: the compiler decides again about each request that it serves.
    """
    steps = [_without_estimates(step_to_json(step)) for step in plan.steps]
    body: JSONObject = {
        "steps": list[JSONValue](steps),
        "result": dict(plan.result),
        "model": plan.model,
        "prompt_version": plan.prompt_version,
        "notes": list(plan.repairs),
    }
    if quotes_context(_said(plan), contract) or find_pii(json.dumps(_said(plan))):
        return None
    text = _sealed(body, kind="plan", key=key)
    return text if len(text) <= MAX_BYTES else None


def failure_text(error: OctoLLMError, *, kind: Kind, key: str) -> str | None:
    """Return what is kept of a failure, or nothing if it is the caller's alone."""
    is_shared = _SHARED.get(error.code) is type(error)
    return _sealed(error.code, kind=kind, key=key) if is_shared else None


def read_plan(text: str, *, key: str) -> PlanDraft | None:
    """Return the draft that ``plan_text`` wrote under this key, else nothing."""
    try:
        return PlanDraft.model_validate(_opened(text, kind="plan", key=key))
    except ValidationError:
        return None


def read_failure(text: str, *, kind: Kind, key: str) -> OctoLLMError | None:
    """Return the failure that ``failure_text`` wrote under this key, else nothing."""
    code = _opened(text, kind=kind, key=key)
    known = _SHARED.get(code) if isinstance(code, str) else None
    if known is None:
        return None
    return known(
        f"Planning failed moments ago ({code}); the model was not asked again."
    )


def _without_estimates(step: JSONObject) -> JSONObject:
    return {name: value for name, value in step.items() if name not in _OF_THE_STEP}


def _said(plan: Plan) -> JSONValue:
    """Return all in a plan that a model may have written freely."""
    steps: list[JSONValue] = [
        [step.step_id, step.description, *step.input.values()] for step in plan.steps
    ]
    return [*steps, dict(plan.result), list(plan.repairs)]


def _sealed(body: JSONValue, *, kind: Kind, key: str) -> str:
    value = {"v": VERSION, "seal": _seal(body, kind=kind, key=key), "body": body}
    return json.dumps(value, separators=(",", ":"))


def _opened(text: str, *, kind: Kind, key: str) -> Any:
    """Return the body of a value, ``None`` for one that we did not write."""
    if len(text) > MAX_BYTES:
        return None
    try:
        value = json.loads(text)
        if not isinstance(value, dict) or value.get("v") != VERSION:
            return None
        is_ours = value.get("seal") == _seal(value.get("body"), kind=kind, key=key)
    except (ValueError, RecursionError):
        return None
    return value["body"] if is_ours else None


def _seal(body: JSONValue, *, kind: Kind, key: str) -> str:
    sealed: JSONObject = {"v": VERSION, "kind": kind, "key": key, "body": body}
    return fingerprint(sealed, purpose="plan-cache-value")
