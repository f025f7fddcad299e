"""Constraints that a plan alone can break, in the words people use.

All others ("No PII", "formal tone") speak of the result; the judge checks those.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from planner.candidate import Compilation


@dataclass(frozen=True, kw_only=True)
class _Ban:
    """Words of a constraint, and the capabilities that break it."""

    words: re.Pattern[str]
    capabilities: frozenset[str]


_BANS = (
    _Ban(
        words=re.compile(
            r"\b(?:no|without|never use)\b.{0,20}\b(?:network|internet|web|http)\b"
            r"|\boffline\b",
            re.IGNORECASE,
        ),
        capabilities=frozenset({"http", "mcp", "web_search"}),
    ),
    _Ban(
        words=re.compile(
            r"\b(?:no|without|never)\b.{0,20}"
            r"\b(?:code execution|shell|commands?|scripts?|run(?:ning)? code)\b",
            re.IGNORECASE,
        ),
        capabilities=frozenset({"shell", "python", "test"}),
    ),
)
_STEP_LIMIT = re.compile(
    r"\b(?:at most|max(?:imum)?(?: of)?|no more than|up to) (\d{1,2}) steps?\b",
    re.IGNORECASE,
)


def broken_constraints(work: Compilation) -> Iterator[str]:
    """Yield one sentence per constraint that the steps break."""
    for constraint in work.contract.constraints:
        for ban in _BANS:
            if ban.words.search(constraint):
                yield from _banned_steps(work, constraint, ban)
        limit = _STEP_LIMIT.search(constraint)
        if limit is not None and len(work.steps) > int(limit[1]):
            yield (
                f"The constraint “{constraint[:80]}” allows {limit[1]} steps; "
                f"there are {len(work.steps)}."
            )


def _banned_steps(work: Compilation, constraint: str, ban: _Ban) -> Iterator[str]:
    for step in work.steps:
        if step.capability in ban.capabilities:
            yield (
                f"{step.name}: the constraint “{constraint[:80]}” forbids "
                f"“{step.capability}”."
            )
