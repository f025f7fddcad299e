"""What a plan depends on, as one fingerprint: the key of the plan cache.

Two requests share a plan only when every part here is equal. Not a part are the
earlier plans that a prompt may show as examples: they change whenever a task ends,
help a model along and decide nothing, and whatever was planned with them is
compiled against the present request before it is used again.
"""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from arms import llm
from arms.contract import ArmSpec
from octollm.types import JSONObject, JSONValue
from planner.model_planning import MAX_OUTPUT_TOKENS, TEMPERATURE
from planner.plan import PlanningContract
from planner.prompts import PROMPT_VERSION, plan_prompt, plan_schema, shape_of
from reflex.fingerprints import fingerprint

#: Change it when what a key is made of, or what the compiler does to a plan of a
#: model, changes so that plans made before should not be used again.
KEY_VERSION = 1


def cache_key(
    contract: PlanningContract, catalogue: Sequence[ArmSpec], *, documents: str
) -> str:
    """Return the key of the plan that a model would make, in hex.

    Spaces around and between words do not count, nor does the order of constraints.
    Letter case does, and the order of criteria, which steps name by their number.

    Args:
        contract: what is asked for, concealed.
        catalogue: the arms there are.
        documents: which ingested documents the goal means, as the prompt says it.
    """
    return fingerprint(
        parts_of(contract, catalogue, documents=documents), purpose="plan-cache"
    )


def parts_of(
    contract: PlanningContract, catalogue: Sequence[ArmSpec], *, documents: str
) -> JSONObject:
    """Return everything that a model's plan depends on, by name."""
    return {
        "version": KEY_VERSION,
        "mode": "model",
        "frame": _frame.fingerprint_of(catalogue),
        "model": llm.identity("planning"),
        "sampling": [TEMPERATURE, MAX_OUTPUT_TOKENS],
        "documents": documents,
        "contract": _contract_parts(contract),
    }


def _contract_parts(contract: PlanningContract) -> JSONObject:
    """Return all fields but the task's id; a new one counts as it is.

    Nor is there a revision: what a task has done is its own, so no later version of a
    plan is cached.
    """
    own = ("task_id", "revision")
    parts = {
        name: _plain(value) for name, value in vars(contract).items() if name not in own
    }
    return parts | {
        "goal": _one_line(contract.goal),
        "constraints": _plain(frozenset(map(_one_line, contract.constraints))),
        "acceptance_criteria": [
            _one_line(each) for each in contract.acceptance_criteria
        ],
        # What of it the model is not shown, it cannot have used.
        "context": shape_of(contract.context),
        "max_time_s": float(contract.max_time_s),
        # Which arms are away, not since when.
        "away": _plain(frozenset(contract.away)),
    }


class _Frame:
    """What stays the same from request to request: the prompt's words and the arms.

    Its fingerprint is kept as long as the catalogue is made of the same objects: it
    takes longer than all the rest of a hit.
    """

    def __init__(self) -> None:
        self._known: tuple[tuple[ArmSpec, ...], str] = ((), "")

    def fingerprint_of(self, catalogue: Sequence[ArmSpec]) -> str:
        # One read and one write, so that threads may meet here.
        specs, known = self._known
        if not known or [*map(id, specs)] != [*map(id, catalogue)]:
            known = fingerprint(_frame_parts(catalogue), purpose="plan-cache-frame")
            self._known = (tuple(catalogue), known)
        return known


_frame = _Frame()

# The prompt of this contract is what a prompt says whatever is asked for.
_NOTHING = PlanningContract(
    task_id=UUID(int=0),
    goal="",
    context={},
    max_cost_usd=Decimal(0),
    max_time_s=0.0,
    max_tokens=0,
)


def _frame_parts(catalogue: Sequence[ArmSpec]) -> JSONObject:
    """Return the prompt's words too: somebody may forget to change the version."""
    messages = plan_prompt(_NOTHING, catalogue)
    return {
        "version": PROMPT_VERSION,
        "messages": [[message.role, message.content] for message in messages],
        "schema": plan_schema(catalogue),
        "catalogue": [_plain(spec) for spec in catalogue],
    }


def _one_line(text: str) -> str:
    return " ".join(unicodedata.normalize("NFC", text).split())


def _plain(value: Any) -> JSONValue:
    """Return a value of the contract or the catalogue as JSON, sets sorted.

    Takes whatever fields the dataclasses have, so that a new one counts at once.
    """
    if dataclasses.is_dataclass(value):
        return {name: _plain(each) for name, each in vars(value).items()}
    if isinstance(value, frozenset):
        return list[JSONValue](sorted(map(str, value)))
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    # Schemas are JSON already.
    return dict(value) if isinstance(value, Mapping) else _scalar(value)


def _scalar(value: Any) -> JSONValue:
    if isinstance(value, Decimal):
        # 1.00 is 1.
        return str(value.normalize())
    if isinstance(value, UUID):
        return str(value)
    plain: JSONValue = value
    return plain
