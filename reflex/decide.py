"""What to do with what was found: pure policy, its table beside the rules."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
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
        policy: another one than the committed.
    """
    actions = (policy or load_policy()).actions[checkpoint]
    if value_type:
        values = actions["values"]
        return values.get(value_type, values["default"])
    return actions["injection"][severity]


def combine(
    attacks: Sequence[tuple[int, str]], *, policy: Policy | None = None
) -> frozenset[int]:
    """Return which attacks of medium severity count as high because of the others.

    Args:
        attacks: where each starts and of which family it is, by position.
        policy: another one than the committed.

    Returns:
        positions in ``attacks``.
    """
    rule = (policy or load_policy()).combination
    raised: set[int] = set()
    first = 0
    for last, (start, _) in enumerate(attacks):
        while start - attacks[first][0] > rule.within:
            first += 1
        window = range(first, last + 1)
        if len({attacks[i][1] for i in window}) >= rule.families:
            raised.update(window)
    return frozenset(raised)


def strictest(actions: Iterable[Action]) -> Action:
    """Return the strictest of these actions; ``allow`` when there are none."""
    return max(actions, key=_STRICTNESS.__getitem__, default=Action.ALLOW)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """When several attacks of medium severity count as high.

    Attributes:
        families: of how many families they must be.
        within: in how many code points, from the first's start to the last's.
    """

    families: int
    within: int


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The table: checkpoint, then ``values`` or ``injection``, then type or severity."""

    actions: Mapping[Checkpoint, Mapping[str, Mapping[str, Action]]]
    combination: Combination


@cache
def load_policy() -> Policy:
    """Return the committed policy."""
    path = Path(__file__).parent / "rules" / "policy.toml"
    table = tomllib.loads(path.read_text())
    combination = Combination(**table.pop("combination"))
    return Policy(
        actions={
            Checkpoint(checkpoint): {
                kind: {name: Action(action) for name, action in actions.items()}
                for kind, actions in kinds.items()
            }
            for checkpoint, kinds in table.items()
        },
        combination=combination,
    )
