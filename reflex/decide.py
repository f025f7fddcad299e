"""What to do with what was found: pure policy, its table beside the rules."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from functools import cache
from pathlib import Path


class Checkpoint(StrEnum):
    """Where on its way a text is screened."""

    REQUEST = "request"
    DOCUMENT = "document"
    TOOL_OUTPUT = "tool_output"
    MODEL_OUTPUT = "model_output"


class Action(StrEnum):
    """What is done with a text, from mild to strict."""

    ALLOW = "allow"
    FLAG = "flag"
    REDACT = "redact"
    BLOCK = "block"


_STRICTNESS = {action: rank for rank, action in enumerate(Action)}


def action_for(
    checkpoint: Checkpoint,
    *,
    value_type: str,
    severity: str,
    policy: Policy | None = None,
) -> Action:
    """Return what the policy says of one finding.

    Args:
        checkpoint: where it was found.
        value_type: of a value, such as ``EMAIL``; empty for an injection.
        severity: ``low``, ``medium`` or ``high``; it decides over injections.
        policy: another table than the committed one.
    """
    table = (policy or load_policy())[checkpoint]
    if value_type:
        values = table["values"]
        return Action(values.get(value_type, values["default"]))
    return Action(table["injection"][severity])


def strictest(actions: Iterable[Action]) -> Action:
    """Return the strictest of these actions; ``allow`` when there are none."""
    return max(actions, key=_STRICTNESS.__getitem__, default=Action.ALLOW)


# checkpoint -> "values" or "injection" -> type or severity -> action
Policy = Mapping[str, Mapping[str, Mapping[str, str]]]


@cache
def load_policy() -> Policy:
    """Return the committed policy."""
    path = Path(__file__).parent / "rules" / "policy.toml"
    policy: Policy = tomllib.loads(path.read_text())
    return policy
