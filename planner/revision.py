"""What is known when a plan is made again: what was done, and what it did not give.

Nothing in it was read from an output: names of outputs are those that the catalogue
declares, values are sizes and types, what was found wanting is told in numbers and
codes. So no text that a step read or wrote reaches whoever plans.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from octollm.types import JSONObject, JSONValue

DONE = "done"
_MAX_DEPTH = 3


@dataclass(frozen=True, kw_only=True)
class EarlierStep:
    """One step of the version before.

    Attributes:
        status: ``done``, or why it never will be.
        error: the code of what it failed with, or nothing.
        output: the shape of its output; see ``shape_of_output``.
    """

    step_id: str
    description: str
    arm: str
    capability: str
    depends_on: tuple[str, ...]
    input: JSONObject
    criteria: tuple[int, ...]
    status: str
    error: str = ""
    output: JSONValue = None

    @property
    def is_done(self) -> bool:
        """Whether its output is there and may be used."""
        return self.status == DONE


@dataclass(frozen=True, kw_only=True)
class Revision:
    """What the next version of a plan starts from.

    Attributes:
        version: the number of the version to be made.
        reason: a code: why there is to be one.
        steps: those of the version before, in its order.
        result: what filled the result of the version before.
        unmet: what was found of each criterion that is not met, in numbers and codes.
        failures: which steps failed, and with which code.
        taken: all step ids that the task has; a new step needs another.
    """

    version: int
    reason: str
    steps: tuple[EarlierStep, ...]
    result: Mapping[str, JSONValue]
    unmet: tuple[JSONObject, ...] = ()
    failures: tuple[JSONObject, ...] = ()
    taken: frozenset[str] = frozenset()


def shape_of_output(value: JSONValue, schema: Mapping[str, Any]) -> JSONValue:
    """Return what an output looks like: declared names, types and sizes; no values."""
    return _shape(value, schema, depth=_MAX_DEPTH)


def _shape(value: JSONValue, schema: Mapping[str, Any], *, depth: int) -> JSONValue:
    if isinstance(value, str):
        return f"string of {len(value)} characters"
    if isinstance(value, list):
        items = _mapping(schema.get("items"))
        first = _shape(value[0], items, depth=depth - 1) if value and depth else None
        return {"list_of": len(value)} | ({"items": first} if first else {})
    if isinstance(value, dict):
        declared = _mapping(schema.get("properties"))
        return {
            name: _shape(value[name], _mapping(inner), depth=depth - 1)
            for name, inner in declared.items()
            if depth and name in value
        }
    if isinstance(value, int | float):
        return "boolean" if isinstance(value, bool) else "number"
    return "null"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
