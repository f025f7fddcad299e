"""The judge: what it computes, with which evidence, and what it leaves alone."""

from __future__ import annotations

import time
from typing import Any

import pytest

from arms.services.judge.arm import JudgeArm
from arms.services.judge.grammar import parse
from octollm.errors import ArmInputError, DeadlineExceededError
from tests.arms.services.requests import make_request, make_services, output_of, run

EMAIL = "jo.doe" + "@example.com"
PHONE = "(555) " + "010-4477"
RESULT = {
    "sentiment_score": 0.41,
    "coverage": 0.85,
    "label": "negative",
    "is_valid": True,
    "keywords": [
        {"keyword": name} for name in ("battery", "screen", "price", "a", "b")
    ],
    "summary": "The battery is fine. The screen is not.",
    "note": None,
    "method": "A method that mentions refunds.",
}


def verdicts(given: dict[str, Any]) -> list[Any]:
    found: list[Any] = output_of(JudgeArm(), "check_criteria", given)["verdicts"]
    return found


def judge(criterion: str, result: Any = None, **given: Any) -> Any:
    asked = {"result": RESULT if result is None else result, "criteria": [criterion]}
    (verdict,) = verdicts(asked | given)
    return verdict


@pytest.mark.parametrize(
    "criterion",
    [
        "Sentiment score between -1 and 1",
        "Sentiment score -1 to 1",
        "Sentiment score (-1 to 1)",
        "Sentiment score: -1 to 1",
        "sentiment score ranges from -1 to 1",
        "The sentiment score should be in the range [-1, 1].",
        "-1 <= sentiment_score <= 1",
        "Provide a sentiment score between \u22121 and +1",
        "score within -1..1",
        "sentiment_score > 0.4",
        "Sentiment score is less than one",
        "coverage >= 80%",
        "Coverage of at least 80 percent",
        "Coverage must be \u2265 0.8",
        "coverage is not below 0.8",
        "at least 5 keywords",
        "At least five keywords",
        "5 or more keywords",
        "between 3 and 5 keywords",
        "exactly 5 keywords in the result",
        "Summary under 100 words",
        "The summary must not exceed 8 words",
        "summary of no more than 2 sentences",
        "8 words or less in the summary",
        "mentions 'battery'",
        "Mentions \u201cbattery\u201d and \u201cscreen\u201d",
        "summary contains 'refund' or 'BATTERY'",
        "does not mention 'refund'",
        "summary mentions battery",
        "label is negative",
        "label = 'Negative'",
        "is valid is true",
        "label is not positive",
        "summary matches /^The .* not\\.$/",
        "summary does not match /refund/i",
        "The summary is not empty",
        "Includes keywords",
        "no more than 5 items",
        "coverage>=0.5",
        "Output is valid JSON",
        "No PII in output",
        "No PII",
        "Output must not contain any personal data (PII)",
        "coverage >= 80% and at least 5 keywords",
        "sentiment score between -1 and 1, and no PII",
    ],
)
def test_criteria_that_hold_are_met(criterion: str) -> None:
    verdict = judge(criterion)

    assert verdict["verdict"] == "met", verdict
    assert (verdict["criterion"], verdict["score"]) == (criterion, 1.0)
    assert verdict["evidence"]
    assert verdict["method"]


@pytest.mark.parametrize(
    ("criterion", "evidence"),
    [
        ("Sentiment score between 0.5 and 1", "result.sentiment_score = 0.41"),
        ("coverage > 85%", "result.coverage = 0.85"),
        ("more than 5 keywords", "5 members"),
        ("Summary under 5 words", "8 words"),
        ("mentions 'refund'", "“refund” not found"),
        ("mentions 'battery' and 'refund'", "“refund” not found"),
        ("does not mention 'battery'", "“battery” found"),
        ("label is positive", '"negative"'),
        ("label equals 'friendly'", '"negative"'),
        ("is valid is false", "true"),
        ("summary matches /refund/", "not found"),
        ("note is not empty", "null"),
        ("note between 0 and 1", "no number"),
        ("summary is valid JSON", "not JSON"),
        ("coverage >= 80% and at least 6 keywords", "5 members"),
    ],
)
def test_criteria_that_do_not_hold_are_not_met(criterion: str, evidence: str) -> None:
    verdict = judge(criterion)

    assert verdict["verdict"] == "not_met", verdict
    assert verdict["score"] == 0.0
    assert evidence in verdict["evidence"]


@pytest.mark.parametrize(
    "criterion",
    [
        "Professional tone",
        "The summary is concise",
        "label is friendly",
        "The tone is friendly",
        "Results are useful",
        "Response in English",
        "finish within 10 seconds",
        "cost under $0.50",
        "accuracy at least 0.9",
        "confidence at least 0.5",
        "mentions delivery problems",
        "mentions 'a', 'b'",
        "Each item has a label",
        "moreover 5 keywords",
        "compare 5",
        "All scores between 0 and 1",
        "sentiment score between 1 and -1",
        "No PII unless it is needed",
        "at least 5",
        "between 1 and 2",
        "summary contains at least 5 keywords",
        "summary matches /(unclosed/",
        "coverage >= 80% and professional tone",
        "word " * 300,
        "",
    ],
)
def test_what_cannot_be_computed_is_left_open_with_a_reason(criterion: str) -> None:
    verdict = judge(criterion)

    assert verdict["verdict"] == "not_checked", verdict
    assert verdict["score"] is None
    assert verdict["evidence"]


def test_a_failing_part_decides_even_if_another_is_not_understood() -> None:
    assert judge("coverage >= 90% and professional tone")["verdict"] == "not_met"


def test_a_value_deep_in_an_output_is_found_and_its_place_is_told() -> None:
    outputs = {"score": {"overall": {"sentiment_score": 0.2}}}

    verdict = judge("Sentiment score 0 to 1", {"answer": "x"}, outputs=outputs)

    assert verdict["verdict"] == "met"
    assert "outputs.score.overall.sentiment_score = 0.2" in verdict["evidence"]


def test_the_result_comes_before_the_outputs() -> None:
    outputs = {"a": {"coverage": 0.1}}

    assert judge("coverage >= 0.5", outputs=outputs)["verdict"] == "met"


def test_fields_of_one_name_with_different_values_are_not_chosen_between() -> None:
    outputs = {"a": {"share": 0.1}, "b": {"share": 0.9}}

    verdict = judge("share >= 0.5", {}, outputs=outputs)

    assert verdict["verdict"] == "not_checked"
    assert "outputs.a.share, outputs.b.share" in verdict["evidence"]


def test_a_count_without_a_subject_needs_an_only_text() -> None:
    two = {"summary": "One two.", "answer": "One two three."}

    assert judge("at most 5 words", {"summary": "One two."})["verdict"] == "met"
    assert judge("at most 5 words", two)["verdict"] == "not_checked"


def test_a_stored_count_counts() -> None:
    assert judge("at least 100 rows", {"row_count": 120})["verdict"] == "met"


@pytest.mark.parametrize(
    ("result", "place"),
    [
        ({"a": f"Write to {EMAIL}"}, "EMAIL at a"),
        ({"a": [{"b": PHONE}]}, "PHONE at a.0.b"),
        ({EMAIL: 1}, "EMAIL at (EMAIL)"),
        ({"n": int("4111111111" + "111111")}, "CARD at n"),
    ],
)
def test_personal_data_anywhere_breaks_the_ban_and_is_not_repeated(
    result: Any, place: str
) -> None:
    verdict = judge("No PII", result)

    assert verdict["verdict"] == "not_met"
    assert place in verdict["evidence"]
    assert EMAIL not in str(verdict["evidence"])


def test_concealed_values_do_not_break_the_ban() -> None:
    verdict = judge("No PII in output", {"a": "Write to [EMAIL_K1] or [LITERAL_1]."})

    assert verdict["verdict"] == "met"
    assert "1 values stay concealed" in verdict["evidence"]


def test_what_the_owner_will_see_counts_where_it_is_known() -> None:
    verdict = judge(
        "No PII", {"a": "[EMAIL_1]"}, revealed_result={"a": f"Write to {EMAIL}"}
    )

    assert verdict["verdict"] == "not_met"


def test_a_ban_on_one_type_counts_its_placeholders_which_are_shown() -> None:
    assert judge("No e-mail addresses", {"a": "[EMAIL_1]"})["verdict"] == "not_met"
    assert judge("No e-mail addresses", {"a": "[PHONE_1]"})["verdict"] == "met"
    assert judge("No phone numbers", {"a": EMAIL})["verdict"] == "met"


def test_constraints_come_behind_criteria_and_none_is_dropped() -> None:
    found = verdicts(
        {
            "result": RESULT,
            "criteria": ["coverage >= 1%"],
            "constraints": ["No PII", "Formal"],
        }
    )

    assert [(each["criterion"], each["kind"], each["verdict"]) for each in found] == [
        ("coverage >= 1%", "criterion", "met"),
        ("No PII", "constraint", "met"),
        ("Formal", "constraint", "not_checked"),
    ]


def test_a_criterion_quoted_in_the_result_does_not_fulfil_itself() -> None:
    result = {"criteria": ["mentions 'refund'"], "answer": "Nothing."}

    assert judge("mentions 'refund'", result)["verdict"] == "not_met"


def test_confidence_is_the_share_that_could_be_checked() -> None:
    reply = run(
        JudgeArm(), "check_criteria", {"result": RESULT, "criteria": ["No PII", "Nice"]}
    )

    assert reply.confidence == 0.5
    assert reply.confidence_reason == "1 of 2 could be checked."


def test_nothing_to_judge_by_is_no_confidence() -> None:
    reply = run(JudgeArm(), "check_criteria", {"result": {}, "criteria": []})

    assert (reply.output, reply.confidence) == ({"verdicts": []}, None)


@pytest.mark.parametrize(
    "given",
    [
        {"result": [], "criteria": []},
        {"result": {}, "criteria": "No PII"},
        {"result": {}, "criteria": [1]},
        {"result": {}, "criteria": [], "outputs": []},
        {"result": {}, "criteria": [], "revealed_result": "x"},
    ],
)
def test_input_of_another_shape_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        verdicts(given)


def test_judging_stops_when_its_time_is_over() -> None:
    request = make_request("check_criteria", {"result": {}, "criteria": ["No PII"]})

    with pytest.raises(DeadlineExceededError):
        JudgeArm().execute(request, make_services(timeout_s=0))


@pytest.mark.parametrize(
    "piece",
    [
        "a",
        "at least ",
        "between 1 and ",
        "(",
        "- ",
        "no ",
        "is ",
        "1 to ",
        "'",
        " /a",
        "§1 and ",
        "not mention ",
        "contains ",
        "a b c d ",
        "'x' and ",
        "1,",
        "<= 1 ",
    ],
)
def test_reading_a_hostile_criterion_is_quick(piece: str) -> None:
    criterion = (piece * 1_000)[:1_000]
    started = time.process_time()

    parse(criterion)

    assert time.process_time() - started < 0.5


def test_a_pattern_that_kills_backtracking_engines_is_harmless() -> None:
    started = time.process_time()

    verdict = judge("summary matches /(a+)+$/", {"summary": "a" * 50_000 + "b"})

    assert verdict["verdict"] == "not_met"
    assert time.process_time() - started < 2


def test_self_check_really_judges() -> None:
    assert JudgeArm().check().is_healthy
