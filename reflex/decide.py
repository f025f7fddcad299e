"""What to do with what was found: pure policy, its table beside the rules."""

from __future__ import annotations

import tomllib
from collections import Counter
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


@dataclass(frozen=True, kw_only=True)
class Sign:
    """One sign of an attack, for ``combine``: where it starts, and what it weighs."""

    start: int
    family: str
    severity: str


def combine(signs: Sequence[Sign], *, policy: Policy | None = None) -> frozenset[int]:
    """Return which signs count as high because of the others, by position.

    Each family counts once, by its heaviest sign, so that repeating one word does
    not add up.

    Args:
        signs: by where they start.
        policy: another one than the committed.
    """
    rule = (policy or load_policy()).combination
    raised: set[int] = set()
    present: dict[str, Counter[int]] = {}
    first = 0
    for last, sign in enumerate(signs):
        while sign.start - signs[first].start > rule.within:
            _forget(present, signs[first], rule.weights)
            first += 1
        weights = present.setdefault(sign.family, Counter())
        weights[rule.weights[sign.severity]] += 1
        score = sum(max(weights) for weights in present.values())
        if len(present) >= rule.families and score >= rule.score:
            begin = first if last - 1 not in raised else last
            raised.update(range(begin, last + 1))
    return frozenset(raised)


def _forget(
    present: dict[str, Counter[int]], sign: Sign, weights: Mapping[str, int]
) -> None:
    counts = present[sign.family]
    counts[weights[sign.severity]] -= 1
    if not counts[weights[sign.severity]]:
        del counts[weights[sign.severity]]
    if not counts:
        del present[sign.family]


def strictest(actions: Iterable[Action]) -> Action:
    """Return the strictest of these actions; ``allow`` when there are none."""
    return max(actions, key=_STRICTNESS.__getitem__, default=Action.ALLOW)


@dataclass(frozen=True, kw_only=True)
class Combination:
    """When several signs of an attack count as high together.

    Attributes:
        families: of how many families they must be, at least.
        within: in how many code points, from the first's start to the last's.
        score: what they must weigh together, each family once.
        weights: of a sign, by its severity.
    """

    families: int
    within: int
    score: int
    weights: Mapping[str, int]


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
