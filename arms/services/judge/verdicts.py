"""What the judge says about one criterion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from octollm.types import JSONObject

State = Literal["met", "not_met", "not_checked"]
_MAX_EVIDENCE = 500


@dataclass(frozen=True, kw_only=True)
class Ruling:
    """A verdict before it is tied to its criterion.

    Attributes:
        evidence: which value, and where; for ``not_checked`` the reason.
        method: the name of the rule that decided.
        score: 0.0 to 1.0, ``None`` when nothing was checked.
    """

    state: State
    evidence: str
    method: str
    score: float | None = None

    def as_verdict(self, criterion: str, *, kind: str) -> JSONObject:
        """Return the verdict as the catalogue promises it."""
        return {
            "criterion": criterion,
            "kind": kind,
            "verdict": self.state,
            "evidence": self.evidence,
            "method": self.method,
            "score": self.score,
        }


def decided(*, is_met: bool, evidence: str, method: str) -> Ruling:
    """Return a verdict that was computed."""
    return Ruling(
        state="met" if is_met else "not_met",
        evidence=clip(evidence),
        method=method,
        score=1.0 if is_met else 0.0,
    )


def not_checked(reason: str, *, method: str = "none") -> Ruling:
    """Return that nothing was decided, and why."""
    return Ruling(state="not_checked", evidence=clip(reason), method=method)


def clip(text: str, length: int = _MAX_EVIDENCE) -> str:
    """Shorten a text that may be long."""
    return text if len(text) <= length else text[: length - 1] + "…"
