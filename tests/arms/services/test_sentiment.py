"""Sentiment: scores, shares, what is left undecided, and odd inputs."""

from __future__ import annotations

import time

import pytest

from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.sentiment import score_text
from arms.services.analyst.texts import go_on
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from tests.arms.services.requests import make_request, make_services, output_of, run


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love this kettle, it is wonderful.", "positive"),
        ("Terrible. It broke and support was awful.", "negative"),
        ("It arrived on Tuesday in a box.", "undecided"),
        ("Der Toaster gefällt mir ausgezeichnet.", "undecided"),
    ],
)
def test_plain_texts_get_the_expected_label(text: str, label: str) -> None:
    assert score_text(text, check=go_on).label == label


def test_shares_of_positive_negative_and_undecided_sum_to_one() -> None:
    texts = ["I love it", "I hate it", "It is a box", "great", "awful, bad"]

    output = output_of(AnalystArm(), "sentiment", {"texts": texts})

    assert output["positive"] == 0.4
    assert output["negative"] == 0.4
    assert output["undecided"] == 0.2
    assert output["coverage"] == 0.8


def test_score_is_the_mean_of_the_items() -> None:
    output = output_of(
        AnalystArm(), "sentiment", {"texts": ["I love it", "It is a box"]}
    )

    scores = [item["score"] for item in output["items"]]
    assert output["sentiment_score"] == pytest.approx(sum(scores) / 2, abs=1e-4)


def test_confidence_is_coverage_times_accuracy_and_says_so() -> None:
    reply = run(AnalystArm(), "sentiment", {"texts": ["I love it", "It is a box"]})

    assert reply.confidence == pytest.approx(0.5 * 0.891)
    assert "0.891" in reply.confidence_reason


def test_texts_in_objects_are_found_and_the_field_is_named() -> None:
    texts = [{"review": "I love it", "stars": 5}, {"Review": "I hate it"}]

    output = output_of(AnalystArm(), "sentiment", {"texts": texts})

    assert output["count"] == 2
    assert "“review”" in output["method"]


def test_items_without_text_are_counted_and_keep_the_numbering() -> None:
    texts = [None, "I love it", 5, "  ", {"stars": 1}]

    output = output_of(AnalystArm(), "sentiment", {"texts": texts})

    assert [item["index"] for item in output["items"]] == [1]
    assert "4 of 5 items held no text" in output["method"]


@pytest.mark.parametrize("texts", [[], [None, ""], "", None, [{"stars": 5}]])
def test_no_text_at_all_is_missing_input(texts: object) -> None:
    with pytest.raises(MissingInputError):
        output_of(AnalystArm(), "sentiment", {"texts": texts})


@pytest.mark.parametrize("texts", [5, True, {"a": "b"}])
def test_input_that_is_no_list_is_refused(texts: object) -> None:
    with pytest.raises(ArmInputError):
        run(AnalystArm(), "sentiment", {"texts": texts})


def test_ten_thousand_texts_are_scored_and_the_list_is_cut() -> None:
    output = output_of(AnalystArm(), "sentiment", {"texts": ["I love it."] * 10_000})

    assert output["count"] == 10_000
    assert len(output["items"]) == 1_000
    assert output["items_cut"] is True


def test_one_long_text_takes_time_in_proportion_to_its_length() -> None:
    text = "good but bad, " * 75_000
    started = time.process_time()

    output = output_of(AnalystArm(), "sentiment", {"texts": [text]})

    assert output["count"] == 1
    assert time.process_time() - started < 10


def test_work_stops_when_its_time_is_over() -> None:
    request = make_request("sentiment", {"texts": ["I love it"]})

    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(request, make_services(timeout_s=0))


def test_a_capability_that_is_not_in_the_catalogue_is_refused() -> None:
    with pytest.raises(ArmInputError, match="no capability"):
        AnalystArm().execute(make_request("divination", {}), make_services())


def test_self_check_really_scores() -> None:
    assert AnalystArm().check().is_healthy
