"""Results: put together from outputs and verdicts; plain values only."""

from __future__ import annotations

from typing import Any

import pytest

from tasks_app import results
from tasks_app.results import Finding, StepOutcome


def assemble(values: dict[str, Any], **rest: Any) -> Any:
    """Assemble, with data that a test can index."""
    return results.assemble(values, **rest)


def step(step_id: str = "1", **over) -> StepOutcome:
    fields = {"status": "done", "output": {"n": 1, "method": "counting"}}
    return StepOutcome(step_id=step_id, **(fields | over))


def finding(verdict: str, **over) -> Finding:
    return Finding(**({"criterion": "c", "verdict": verdict} | over))


def test_keys_of_the_plan_stand_at_the_top():
    data = assemble({"sentiment_score": 0.4}, steps=[step()]).data

    assert data["sentiment_score"] == 0.4
    assert data["outputs"] == {"1": {"n": 1, "method": "counting"}}


def test_plan_cannot_replace_what_the_judge_said():
    data = assemble(
        {"criteria": "all fine", "fully_verified": True},
        steps=[step()],
        findings=[finding("not_met")],
    ).data

    assert data["criteria"][0]["verdict"] == "not_met"
    assert data["fully_verified"] is False


@pytest.mark.parametrize(
    ("verdicts", "is_met", "is_verified", "reservations"),
    [
        ([], True, True, []),
        (["met"], True, True, []),
        (["met", "not_checked"], True, False, ["c"]),
        (["met", "not_met"], False, False, []),
    ],
)
def test_verdicts_decide(verdicts, is_met, is_verified, reservations):
    assembly = assemble({}, steps=[step()], findings=[finding(v) for v in verdicts])

    assert assembly.is_met is is_met
    assert assembly.data["fully_verified"] is is_verified
    assert assembly.data["reservations"] == reservations


def test_partial_result_is_never_met_and_names_what_is_missing():
    steps = [step("1"), step("2", status="failed", output=None)]

    assembly = assemble({}, steps=steps, is_partial=True)

    assert assembly.is_met is False
    assert assembly.data["partial"] is True
    assert assembly.data["missing_steps"] == ["2"]


def test_constraints_stand_apart_from_criteria():
    findings = [finding("met"), finding("not_met", kind="constraint", criterion="k")]

    assembly = assemble({}, steps=[step()], findings=findings)

    assert [c["criterion"] for c in assembly.data["criteria"]] == ["c"]
    assert [c["criterion"] for c in assembly.data["constraints"]] == ["k"]
    assert assembly.is_met is False


def test_confidence_is_that_of_the_least_sure_step():
    steps = [step("1", confidence=0.9), step("2", confidence=0.6), step("3")]

    assembly = assemble({}, steps=steps)

    assert assembly.confidence == 0.6
    assert "step 2: 0.60" in assembly.data["confidence_reason"]


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [(["met"], 0.8), (["not_checked"], 0.4), (["met", "not_met"], 0.4)],
)
def test_criteria_lower_the_confidence(verdicts, expected):
    assembly = assemble(
        {}, steps=[step(confidence=0.8)], findings=[finding(v) for v in verdicts]
    )

    assert assembly.confidence == pytest.approx(expected)


def test_confidence_is_unknown_when_no_step_knows():
    assembly = assemble({}, steps=[step()])

    assert assembly.confidence is None
    assert "No step" in assembly.data["confidence_reason"]


def test_answer_says_plain_values_unless_the_plan_has_one():
    plain = assemble({"row_count": 3, "groups": []}, steps=[step()]).data
    own = assemble({"answer": "Three."}, steps=[step()]).data

    assert plain["answer"] == "row count: 3"
    assert own["answer"] == "Three."


def test_methods_of_all_steps_are_named_once():
    data = assemble({}, steps=[step("1"), step("2")]).data

    assert data["method"] == "counting"
