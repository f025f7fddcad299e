"""What the user gets, put together from outputs and verdicts; pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from octollm.types import JSONObject, JSONValue

# Names of our own in ``result_data``; a recipe's key of the same name gives way.
RESERVED = frozenset(
    {
        "answer",
        "outputs",
        "criteria",
        "constraints",
        "reservations",
        "partial",
        "fully_verified",
        "confidence_reason",
        "missing_steps",
        "stopped",
        "unmet_criteria",
        "cost_to_finish",
    }
)


@dataclass(frozen=True, kw_only=True)
class StepOutcome:
    """What one work step left.

    ``output`` is ``None`` unless it is done; ``confidence`` is 0.0 to 1.0 or unknown.
    """

    step_id: str
    status: str
    output: JSONObject | None = None
    confidence: float | None = None
    confidence_reason: str = ""
    error: JSONObject | None = None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The verdict on one criterion or constraint, as the judge sent it."""

    criterion: str
    verdict: str
    evidence: str = ""
    method: str = ""
    score: float | None = None
    kind: str = "criterion"


@dataclass(frozen=True, kw_only=True)
class Assembly:
    """A result before it is a row.

    ``plan_version`` is set when it is that of a version whose verdicts are recorded.
    """

    data: JSONObject
    confidence: float | None
    is_met: bool
    findings: tuple[Finding, ...] = field(default=())
    plan_version: int | None = None


def assemble(
    values: Mapping[str, JSONValue],
    *,
    steps: Sequence[StepOutcome],
    findings: Sequence[Finding] = (),
    is_partial: bool = False,
) -> Assembly:
    """Put a result together.

    ``values`` are the plan's own result keys with what they resolved to. The result
    is met when no finding is ``not_met`` and nothing is missing.
    """
    criteria = [_finding(f) for f in findings if f.kind == "criterion"]
    constraints = [_finding(f) for f in findings if f.kind == "constraint"]
    unchecked = [f.criterion for f in findings if f.verdict == "not_checked"]
    is_met = not is_partial and all(f.verdict != "not_met" for f in findings)
    confidence, reason = _confidence(steps, findings)
    own = {key: value for key, value in values.items() if key not in RESERVED}
    data: JSONObject = {
        "method": _methods(steps),
        **own,
        "answer": values.get("answer") or _answer(own),
        "outputs": {s.step_id: s.output for s in steps if s.output is not None},
        "criteria": criteria,
        "constraints": constraints,
        "reservations": list(unchecked),
        "partial": is_partial,
        "fully_verified": is_met and not unchecked,
        "confidence_reason": reason,
    }
    missing = [s.step_id for s in steps if s.output is None]
    if missing or is_partial:
        data["missing_steps"] = list(missing)
    return Assembly(
        data=data, confidence=confidence, is_met=is_met, findings=tuple(findings)
    )


def _finding(finding: Finding) -> JSONValue:
    return {
        "criterion": finding.criterion,
        "verdict": finding.verdict,
        "evidence": finding.evidence,
        "method": finding.method,
        "score": finding.score,
    }


def _answer(values: Mapping[str, JSONValue]) -> str:
    """Say the plain values in one line, for a person who reads nothing else."""
    plain = [
        f"{key.replace('_', ' ')}: {value}"
        for key, value in values.items()
        if isinstance(value, str | int | float) and key != "method"
    ]
    return "; ".join(plain)


def _methods(steps: Sequence[StepOutcome]) -> str:
    """Name the methods that the steps say they used, each once."""
    said = [s.output.get("method") for s in steps if s.output is not None]
    return "; ".join(dict.fromkeys(str(method) for method in said if method))


def _confidence(
    steps: Sequence[StepOutcome], findings: Sequence[Finding]
) -> tuple[float | None, str]:
    """Return the confidence and how it came about.

    A chain is as sure as its least sure step. Criteria lower it: one that is not met
    counts nothing, one that nobody could check counts half.
    """
    known = [s for s in steps if s.confidence is not None]
    if not known:
        return None, "No step could say how sure it is."
    weakest = min(known, key=lambda step: step.confidence or 0.0)
    base = weakest.confidence or 0.0
    reason = f"Least sure step {weakest.step_id}: {base:.2f}"
    if weakest.confidence_reason:
        reason += f" ({weakest.confidence_reason})"
    if not findings:
        return base, reason + "."
    weights = {"met": 1.0, "not_checked": 0.5}
    share = sum(weights.get(f.verdict, 0.0) for f in findings) / len(findings)
    count = sum(f.verdict == "met" for f in findings)
    reason += f"; times {share:.2f}, as {count} of {len(findings)} criteria are met."
    return base * share, reason
