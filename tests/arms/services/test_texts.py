"""Summaries, keywords, classification, extraction and comparison of texts."""

from __future__ import annotations

from typing import Any

import pytest

from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.texts import content_words, sentences
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from tests.arms.services.requests import make_request, make_services, output_of, run

EMAIL = "jo.doe" + "@example.com"
REVIEWS = [
    "The battery life is great. I love the screen.",
    "Battery life is poor, and the screen is dim.",
    "The battery of my old phone was worse. Battery life is what matters.",
    "It came in a blue box.",
]


def analyse(capability: str, given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three?", ["One.", "Two!", "Three?"]),
        ('He said "stop." Then he left.', ['He said "stop."', "Then he left."]),
        ("It costs 3.50 today", ["It costs 3.50 today"]),
        ("first line\nsecond line", ["first line", "second line"]),
        ("", []),
    ],
)
def test_sentences_end_at_their_signs(text: str, expected: list[str]) -> None:
    assert sentences(text) == expected


def test_a_sentence_without_end_is_cut_at_spaces() -> None:
    parts = sentences("word " * 500)

    assert max(map(len, parts)) <= 500
    assert " ".join(parts).split() == ["word"] * 500


def test_placeholders_and_stop_words_are_no_content() -> None:
    assert content_words("I wrote to [EMAIL_K1] about the kettle") == [
        "wrote",
        "kettle",
    ]


def test_a_summary_takes_the_most_typical_sentences_in_their_order() -> None:
    output = analyse("summarise", {"texts": REVIEWS, "sentences": 2})

    assert len(output["sentences"]) == 2
    assert "blue box" not in output["summary"]
    indexes = [each["index"] for each in output["sentences"]]
    assert indexes == sorted(indexes)
    assert output["coverage"] == 1


def test_a_summary_of_less_than_was_asked_for_is_all_there_is() -> None:
    output = analyse(
        "summarise", {"texts": ["One kettle. One kettle."], "sentences": 9}
    )

    assert output["summary"] == "One kettle."


def test_a_long_text_is_ranked_in_part_and_says_so() -> None:
    texts = [
        f"Sentence number {word} about kettles." for word in map(str, range(2_000))
    ]

    output = analyse("summarise", {"texts": texts, "sentences": 3})

    assert output["coverage"] == 600 / 2_000
    assert "600 were compared" in output["method"]


def test_a_summary_makes_no_claim_of_confidence() -> None:
    reply = run(AnalystArm(), "summarise", {"texts": REVIEWS})

    assert reply.confidence is None
    assert reply.confidence_reason


def test_texts_without_words_are_summarised_as_they_are() -> None:
    assert analyse("summarise", {"texts": ["1 2 3", "!!!"]})["summary"] == "1 2 3 !!!"


def test_keywords_prefer_phrases_that_repeat() -> None:
    output = analyse("keywords", {"texts": REVIEWS, "limit": 2})

    found = [each["keyword"] for each in output["keywords"]]
    assert found[0] == "battery life"
    assert "screen" in found
    assert output["keywords"][0] == {"keyword": "battery life", "score": 1, "count": 3}
    assert output["coverage"] == 0.75


def test_keywords_of_nothing_but_stop_words_are_none() -> None:
    output = analyse("keywords", {"texts": ["it is what it is"]})

    assert (output["keywords"], output["coverage"]) == ([], 0)


@pytest.mark.parametrize("limit", [0, -1, "5", True, 2.5])
def test_a_limit_that_is_no_count_is_refused(limit: Any) -> None:
    with pytest.raises(ArmInputError, match="whole number"):
        analyse("keywords", {"texts": REVIEWS, "limit": limit})


def test_texts_get_each_label_whose_words_they_hold() -> None:
    rules = {
        "power": ["batter*"],
        "display": ["screen", "dim light"],
        "price": ["cost"],
    }

    output = analyse("classify", {"texts": REVIEWS, "rules": rules})

    assert output["labels"] == {"power": 3, "display": 2, "price": 0}
    assert output["items"][0]["labels"] == ["display", "power"]
    assert (output["undecided"], output["coverage"]) == (1, 0.75)


@pytest.mark.parametrize(
    ("word", "is_hit"),
    [("pen", False), ("open", True), ("OPEN", True), ("op*", True), ("the box", True)],
)
def test_rules_match_whole_words_beginnings_and_phrases(
    word: str, is_hit: bool
) -> None:
    output = analyse(
        "classify", {"texts": ["Open, then close the  box!"], "rules": {"a": [word]}}
    )

    assert bool(output["labels"]["a"]) is is_hit


@pytest.mark.parametrize("rules", [None, {}, []])
def test_classifying_without_rules_says_what_to_supply(rules: Any) -> None:
    with pytest.raises(MissingInputError, match="rules"):
        analyse("classify", {"texts": REVIEWS, "rules": rules})


@pytest.mark.parametrize(
    "rules", [["a"], {"a": 5}, {"a": []}, {"a": [1]}, {"a": " , "}]
)
def test_rules_of_another_shape_are_refused(rules: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("classify", {"texts": REVIEWS, "rules": rules})


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        ("on 2024-03-05", "2024-03-05"),
        ("on 3 March 2024", "2024-03-03"),
        ("on March 3rd, 2024", "2024-03-03"),
        ("am 24.12.2023", "2023-12-24"),
        ("12/24/2023", "2023-12-24"),
        ("5/5/2023", "2023-05-05"),
        ("4/5/2023", None),
    ],
)
def test_dates_are_read_and_left_open_where_two_readings_exist(
    text: str, iso: str | None
) -> None:
    output = analyse("extract", {"texts": [text], "kinds": ["dates"]})

    assert [each["date"] for each in output["dates"]] == [iso]


@pytest.mark.parametrize(
    "text", ["2024-13-40", "31/31/2024", "30 February 2024", "1/2"]
)
def test_days_that_no_calendar_has_are_no_dates(text: str) -> None:
    assert analyse("extract", {"texts": [text]})["dates"] == []


@pytest.mark.parametrize(
    ("text", "amount", "currency"),
    [
        ("$19.99", "19.99", "USD"),
        ("1,200 EUR", "1200", "EUR"),
        ("€ 5", "5", "EUR"),
        ("20 dollars", "20", "USD"),
        ("£3 million", "3000000", "GBP"),
        ("USD 7.5k", "7500.0", "USD"),
    ],
)
def test_money_is_read_with_its_currency(text: str, amount: str, currency: str) -> None:
    (found,) = analyse("extract", {"texts": [f"It was {text}."]})["money"]

    assert (found["amount"], found["currency"]) == (amount, currency)


@pytest.mark.parametrize("text", ["20 pieces", "version 1.5", "A$AP", "2024"])
def test_bare_numbers_are_no_money(text: str) -> None:
    assert analyse("extract", {"texts": [text]})["money"] == []


def test_facts_stand_where_they_say() -> None:
    texts = [None, f"Write to {EMAIL} or {EMAIL}, by 2024-03-05, for $5."]

    output = analyse("extract", {"texts": texts})

    assert len(output["emails"]) == 2
    for each in [*output["emails"], *output["dates"], *output["money"]]:
        assert each["index"] == 1
        assert str(texts[1])[each["start"] : each["end"]] == each["value"]
    assert output["count"] == 4


def test_only_the_kinds_asked_for_are_looked_for() -> None:
    output = analyse("extract", {"texts": [f"{EMAIL} $5"], "kinds": ["money"]})

    assert (output["emails"], len(output["money"])) == ([], 1)


@pytest.mark.parametrize("kinds", [["names"], "names", [1], {"a": 1}])
def test_kinds_that_are_not_known_are_refused(kinds: Any) -> None:
    with pytest.raises(ArmInputError, match="emails, dates, money"):
        analyse("extract", {"texts": ["x"], "kinds": kinds})


def test_lines_are_compared_without_case_and_spacing() -> None:
    output = analyse(
        "compare", {"a": "One line.\nTwo lines.", "b": "TWO  lines.\nThree"}
    )

    assert output["shared"] == ["Two lines."]
    assert (output["only_in_a"], output["only_in_b"]) == (["One line."], ["Three"])
    assert 0 < output["similarity"] < 1


@pytest.mark.parametrize(
    ("a", "b", "similarity"),
    [
        ("A red kettle.", "A red kettle.", 1),
        ("A red kettle.", "Blue phones ring.", 0),
        (["x", {"k": 1}], ["x", {"k": 1}], 1),
        ([1, 2], [2, 3], 0.3333),
        ({"name": "kettle"}, {"name": "kettle"}, 1),
    ],
)
def test_similarity_is_one_for_the_same_and_zero_for_nothing_in_common(
    a: Any, b: Any, similarity: float
) -> None:
    assert analyse("compare", {"a": a, "b": b})["similarity"] == similarity


@pytest.mark.parametrize(("a", "b"), [("", "x"), ("x", None), ([], ["x"]), ("x", {})])
def test_comparing_with_nothing_says_what_to_supply(a: Any, b: Any) -> None:
    with pytest.raises(MissingInputError, match="supply"):
        analyse("compare", {"a": a, "b": b})


@pytest.mark.parametrize(
    ("capability", "given"),
    [
        ("summarise", {"texts": REVIEWS}),
        ("keywords", {"texts": REVIEWS}),
        ("classify", {"texts": REVIEWS, "rules": {"a": ["b"]}}),
        ("extract", {"texts": REVIEWS}),
        ("compare", {"a": "x", "b": "y"}),
        ("describe_table", {"table": "a\n1"}),
        ("aggregate", {"table": "a\n1"}),
    ],
)
def test_all_work_stops_when_its_time_is_over(capability: str, given: Any) -> None:
    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(
            make_request(capability, given), make_services(timeout_s=0)
        )


@pytest.mark.parametrize(
    ("capability", "piece"),
    [
        ("extract", "a@"),
        ("extract", "1,"),
        ("extract", "$1"),
        ("extract", "1/"),
        ("extract", "jan "),
        ("keywords", "x"),
        ("summarise", "' "),
        ("compare", "-"),
    ],
)
@pytest.mark.timeout(20)
def test_hostile_texts_take_time_in_proportion_to_their_length(
    capability: str, piece: str
) -> None:
    text = piece * 200_000

    output = analyse(capability, {"texts": [text], "a": text, "b": text})

    assert output["method"]


def test_ten_thousand_texts_are_worked_on_within_bounds() -> None:
    texts = [f"Review {number}: the kettle cost $5." for number in range(10_000)]

    output = analyse("extract", {"texts": texts, "kinds": ["money"]})

    assert output["count"] == 10_000
    assert (len(output["money"]), output["found_cut"]) == (1_000, True)
