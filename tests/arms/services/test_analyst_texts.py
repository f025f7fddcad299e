"""Texts searched, chosen, masked, counted; what holds of all work on texts."""

from __future__ import annotations

from typing import Any

import pytest

from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.bounds import MAX_OUTPUT_CHARACTERS
from arms.services.analyst.concealing import KINDS
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from reflex.placeholders import LITERAL
from reflex.rules import load_rules
from tests.arms.services.requests import make_request, make_services, output_of

EMAIL = "jo.doe" + "@example.com"
PHONE = "+49 30 " + "12345678"
CARD = "4111 1111 " + "1111 1111"
REVIEWS = [
    "The battery life is great. I love the screen.",
    "Battery life is poor, and the screen is dim.",
    "It came in a blue box on 3 March 2024.",
]
NEEDS: dict[str, dict[str, Any]] = {
    "redact": {},
    "find": {"terms": ["battery"]},
    "filter_texts": {"contains": ["battery"]},
    "frequency": {},
    "timeline": {},
    "text_statistics": {},
    "readability": {},
    "language": {},
    "split": {},
    "checksum": {},
    "deduplicate_texts": {},
}


def analyse(capability: str, **given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


def shown(output: Any) -> list[str]:
    return [each["text"] for each in output["texts"]]


def test_values_are_masked_for_good() -> None:
    texts = [f"Mail {EMAIL}, call {PHONE}.", f"Pay with {CARD}", "Hello"]

    output = analyse("redact", texts=texts)

    assert shown(output) == ["Mail [EMAIL], call [PHONE].", "Pay with [CARD]", "Hello"]
    assert output["counts"] == {"CARD": 1, "EMAIL": 1, "PHONE": 1}


def test_placeholders_are_masked_so_that_nothing_is_revealed_later() -> None:
    output = analyse("redact", texts=["[CARD_1] and [SECRET_K12], [LITERAL_1] [a]"])

    assert shown(output) == ["[CARD] and [SECRET], [LITERAL_1] [a]"]


def test_only_the_kinds_asked_for_are_masked() -> None:
    output = analyse("redact", texts=[f"{EMAIL} {PHONE}"], kinds=["email"])

    assert shown(output) == [f"[EMAIL] {PHONE}"]


@pytest.mark.parametrize("gap", [199_990, 199_995, 200_000, 219_990])
def test_a_value_between_two_pieces_is_masked_whole(gap: int) -> None:
    text = "x " * (gap // 2) + f"{EMAIL} {CARD} " + "y " * 1_000

    output = analyse("redact", texts=[text])

    assert output["counts"] == {"CARD": 1, "EMAIL": 1}
    assert "doe" not in shown(output)[0]


def test_every_kind_that_the_reflex_knows_can_be_masked() -> None:
    types = {rule.type for rule in load_rules().rules if rule.is_value}
    known = types - {LITERAL}

    assert set(KINDS) == known


@pytest.mark.parametrize("kinds", [["NAME"], 5, [5]])
def test_kinds_of_values_that_are_not_known_are_refused(kinds: Any) -> None:
    with pytest.raises(ArmInputError, match="kinds"):
        analyse("redact", texts=["x"], kinds=kinds)


def test_words_are_found_where_they_stand() -> None:
    output = analyse("find", texts=[None, *REVIEWS], terms=["Battery life", "scree*"])

    assert output["counts"] == {"Battery life": 2, "scree*": 2}
    assert (output["count"], output["text_count"]) == (4, 2)
    for match in output["matches"]:
        text = REVIEWS[match["index"] - 1]
        assert text[match["start"] : match["end"]] == match["value"]
        assert match["value"] in match["around"]


def test_patterns_are_found_line_by_line() -> None:
    output = analyse("find", texts=["a1\nb22\nc"], pattern=r"^[a-z]\d+$")

    assert [each["value"] for each in output["matches"]] == ["a1", "b22"]
    assert output["matches"][1]["start"] == 3


def test_offsets_hold_beyond_ascii() -> None:
    text = "Zürich 🐙 Köln"

    for given in ({"terms": ["köln"]}, {"pattern": "K..n"}):
        (match,) = analyse("find", texts=[text], **given)["matches"]
        assert text[match["start"] : match["end"]] == "Köln"


@pytest.mark.parametrize("given", [{"terms": "doe"}, {"pattern": "doe@"}])
def test_a_value_that_is_hit_in_part_is_shown_whole(given: Any) -> None:
    (match,) = analyse("find", texts=[f"Write to {EMAIL}!"], **given)["matches"]

    assert match["value"] == EMAIL


@pytest.mark.parametrize("reach", range(45, 75, 3))
def test_what_stands_around_cuts_no_value(reach: int) -> None:
    text = f"{PHONE}{' ' * reach}here{' ' * reach}{EMAIL}".replace("  ", " .")

    (match,) = analyse("find", texts=[text], terms="here")["matches"]

    around = match["around"]
    assert PHONE in around or "12345" not in around
    assert EMAIL in around or "doe" not in around


def test_quoted_words_of_the_question_are_looked_for() -> None:
    output = analyse("find", texts=REVIEWS, question="Find “blue box” and 'screen'")

    assert output["counts"] == {"blue box": 1, "screen": 2}


@pytest.mark.parametrize("capability", ["find", "filter_texts"])
def test_looking_for_nothing_says_what_to_supply(capability: str) -> None:
    with pytest.raises(MissingInputError, match="supply"):
        analyse(capability, texts=REVIEWS, question="Find the best ones")


@pytest.mark.parametrize(
    "given",
    [
        {"pattern": "(a"},
        {"pattern": r"(?=a)b"},
        {"pattern": ""},
        {"pattern": "x" * 501},
        {"pattern": 5},
        {"pattern": "(a{1000}){1000}"},
        {"pattern": r"\pL{500}\pL{500}"},
        {"terms": ["!!"]},
        {"terms": [1]},
        {"terms": {"a": 1}},
        {"terms": ["a " * 21]},
        {"terms": ["a"] * 1_001},
    ],
)
def test_what_cannot_be_looked_for_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("find", texts=REVIEWS, **given)


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({"contains": ["great", "blue"]}, [0, 2]),
        ({"contains": ["battery", "great"], "match": "all"}, [0]),
        ({"lacks": "battery"}, [2]),
        ({"contains": "screen", "lacks": ["dim"]}, [0]),
        ({"pattern": r"\d{4}"}, [2]),
        ({"question": "Keep those that mention “screen”"}, [0, 1]),
        ({"contains": "nothing"}, []),
    ],
)
def test_texts_are_kept_by_their_words(given: Any, kept: list[int]) -> None:
    output = analyse("filter_texts", texts=REVIEWS, **given)

    assert [each["index"] for each in output["texts"]] == kept
    assert output["left_out_count"] == 3 - len(kept)


def test_the_most_frequent_words_come_first() -> None:
    output = analyse("frequency", texts=REVIEWS, limit=3)

    assert [each["term"] for each in output["frequencies"]] == [
        "battery",
        "life",
        "screen",
    ]
    assert output["frequencies"][0] == {
        "term": "battery",
        "count": 2,
        "texts": 2,
        "share": round(2 / output["word_count"], 6),
    }


@pytest.mark.parametrize(
    ("given", "first"),
    [
        ({"words": 2}, ("battery life", 2)),
        ({"terms": ["is", "absent"]}, ("is", 3)),
        ({"question": "How often is “blue box” said?"}, ("blue box", 1)),
    ],
)
def test_phrases_and_given_words_are_counted(given: Any, first: Any) -> None:
    output = analyse("frequency", texts=REVIEWS, **given)

    assert (
        output["frequencies"][0]["term"],
        output["frequencies"][0]["count"],
    ) == first


@pytest.mark.parametrize("capability", ["frequency", "keywords"])
def test_parts_of_an_address_are_no_words(capability: str) -> None:
    output = analyse(capability, texts=[f"kettle {EMAIL} kettle [CARD_1]"])

    found = output.get("frequencies") or output["keywords"]
    assert not [each for each in found if "doe" in str(each) or "card" in str(each)]
    assert found[0]["count"] >= 1


def test_dates_come_in_order_with_their_sentence() -> None:
    texts = [
        "It was signed. On 3 March 2024 it began! Then it ended on 2025-01-02.",
        "Born on December 24, 1999. Seen on 4/5/2020.",
    ]

    output = analyse("timeline", texts=texts)

    assert [(each["date"], each["index"]) for each in output["events"]] == [
        ("1999-12-24", 1),
        ("2024-03-03", 0),
        ("2025-01-02", 0),
    ]
    assert output["events"][1]["sentence"] == "On 3 March 2024 it began!"
    assert (output["first"], output["last"]) == ("1999-12-24", "2025-01-02")
    assert output["ambiguous_count"] == 1


def test_texts_without_dates_have_an_empty_timeline() -> None:
    output = analyse("timeline", texts=["Soon."])

    assert (output["events"], output["first"], output["last"]) == ([], None, None)


@pytest.mark.parametrize("capability", NEEDS)
@pytest.mark.parametrize("texts", [None, [], "", [None, " "]])
def test_no_texts_are_missing_input(capability: str, texts: Any) -> None:
    with pytest.raises(MissingInputError):
        analyse(capability, texts=texts, **NEEDS[capability])


@pytest.mark.parametrize("capability", [*NEEDS, "diff"])
def test_work_on_texts_stops_when_its_time_is_over(capability: str) -> None:
    given = {"texts": REVIEWS, "a": "x", "b": "y"} | NEEDS.get(capability, {})

    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(
            make_request(capability, given), make_services(timeout_s=0)
        )


@pytest.mark.parametrize("capability", NEEDS)
@pytest.mark.parametrize(
    "piece",
    ["a", " ", "a ", "# ", "\n", "a@", "2024-01-01 ", "[CARD_1]", "battery ", "é. "],
)
@pytest.mark.timeout(30)
def test_hostile_texts_take_time_in_proportion_to_their_length(
    capability: str, piece: str
) -> None:
    output = analyse(capability, texts=["x" + piece * 60_000], **NEEDS[capability])

    assert output["method"]


@pytest.mark.timeout(30)
def test_a_pattern_made_to_be_slow_is_not() -> None:
    output = analyse("find", texts=["a" * 100_000], pattern="(a*)*b|(a|aa)+$")

    assert output["count"] == 1


@pytest.mark.parametrize("capability", NEEDS)
@pytest.mark.timeout(60)
def test_what_does_not_fit_an_output_is_cut_and_told(capability: str) -> None:
    texts = [f"battery {number} " + "word " * 200 for number in range(3_000)]

    output = analyse(capability, texts=texts, **NEEDS[capability])

    lists = {key: each for key, each in output.items() if isinstance(each, list)}
    assert all(len(each) <= 1_000 for each in lists.values())
    for key, each in lists.items():
        assert output[f"{key}_cut"] or len(each) < 1_000
    assert len(str(output)) < MAX_OUTPUT_CHARACTERS + 500_000


def test_one_text_too_long_for_an_output_is_cut_itself() -> None:
    output = analyse("redact", texts=["\x01" * 600_000])

    assert output["texts_cut"]
    assert len(shown(output)[0]) == 499_000
