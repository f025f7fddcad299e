"""Texts searched, chosen, masked, counted, cut, told apart and put in order."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from arms.services.analyst import languages, readability
from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.bounds import MAX_OUTPUT_CHARACTERS
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from tests.arms.services.requests import make_request, make_services, output_of, run

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


def test_texts_are_counted() -> None:
    output = analyse("text_statistics", texts=["One two. Two!\n\nThree", "", "A"])

    assert output["count"] == 2
    assert (output["words"], output["unique_words"]) == (5, 4)
    assert (output["sentences"], output["paragraphs"]) == (4, 3)
    assert output["longest"]["index"] == 0
    assert output["shortest"] == {
        "index": 2,
        "characters": 1,
        "words": 1,
        "sentences": 1,
    }


@pytest.mark.parametrize(
    ("word", "count"),
    [
        ("cat", 1),
        ("kettle", 2),
        ("make", 1),
        ("wanted", 2),
        ("asked", 1),
        ("boxes", 2),
        ("likes", 1),
        ("readability", 5),
        ("the", 1),
        ("rhythm", 1),
    ],
)
def test_syllables_are_groups_of_vowels(word: str, count: int) -> None:
    assert readability.syllables(word) == count


def test_the_formulas_are_those_of_flesch_and_kincaid() -> None:
    counts = readability.Counts(words=100, sentences=5, syllables=150)

    assert counts.ease == pytest.approx(206.835 - 1.015 * 20 - 84.6 * 1.5)
    assert counts.grade == pytest.approx(0.39 * 20 + 11.8 * 1.5 - 15.59)
    assert counts.label == "fairly difficult"


def test_short_words_are_easier_than_long_ones() -> None:
    texts = [
        "The cat sat on the mat. It was a good cat.",
        "Organisational considerations necessitate comprehensive documentation of "
        "the administrative responsibilities.",
    ]

    easy, hard = analyse("readability", texts=texts)["items"]

    assert easy["reading_ease"] > 90 > 0 > hard["reading_ease"]
    assert hard["grade"] > easy["grade"]


def test_texts_in_another_language_have_no_readability() -> None:
    output = analyse(
        "readability", texts=["Der Kessel ist nicht gut, und ich bin müde."]
    )

    assert (output["reading_ease"], output["label"]) == (None, None)
    assert output["coverage"] == 0


SENTENCES = {
    "ar": "أنا سعيد جدا مع هذا الهاتف من الشركة.",
    "bg": "Много съм доволен от този телефон.",
    "cs": "Jsem velmi spokojený s tímto telefonem.",
    "da": "Jeg ved ikke, hvad der blev af pakken.",
    "de": "Ich bin mit dem Telefon sehr zufrieden.",
    "el": "βραστήρας χάλασε.",
    "en": "The kettle broke after two days and I want my money back.",
    "es": "Estoy muy contento con este teléfono.",
    "fa": "این گوشی را دوست دارم و به همه می گویم.",
    "fi": "Toimitus oli myöhässä, mutta nyt kaikki on hyvin.",
    "fr": "Je suis très content de ce téléphone.",
    "he": "הקומקום התקלקל.",
    "hi": "केतली टूट गई।",
    "hu": "A szállítás nem volt pontos, de már megjött.",
    "id": "Saya sangat puas dengan telepon ini.",
    "it": "Sono molto contento di questo telefono.",
    "ja": "やかんが壊れました。電話は良いです。",
    "ko": "주전자가 고장났어요.",
    "nl": "Ik ben heel blij met deze telefoon.",
    "no": "Jeg vet ikke hva som ble av pakken.",
    "pl": "Jestem bardzo zadowolony z tego telefonu.",
    "pt": "Estou muito contente com este telefone.",
    "ro": "Livrarea a fost târzie, dar este bine.",
    "ru": "Чайник сломался через два дня, и я очень расстроен.",  # Russian
    "sv": "Jag är mycket nöjd med telefonen.",
    "th": "กาต้มน้ำเสีย",
    "tr": "Bu telefondan çok memnunum.",
    "uk": "Доставка була не вчасно, але це не так погано.",  # Ukrainian
    "zh": "水壶坏了。",
}


@pytest.mark.parametrize("code", SENTENCES)
def test_languages_are_told_by_script_and_common_words(code: str) -> None:
    assert languages.detect(SENTENCES[code]).language == code


def test_every_language_that_is_promised_is_tested() -> None:
    assert set(SENTENCES) == set(languages.CODES)


@pytest.mark.parametrize(
    "text", ["", "12345", "Hello", "asdf qwer", "[EMAIL_1]", "!!!", "Kubernetes pods"]
)
def test_a_language_that_does_not_show_stays_undecided(text: str) -> None:
    assert languages.detect(text).language is None


def test_the_language_of_most_texts_is_named() -> None:
    texts = [SENTENCES["de"], SENTENCES["en"], SENTENCES["de"], "zzz"]

    reply = run(AnalystArm(), "language", {"texts": texts})

    assert reply.output["language"] == "de"
    assert reply.output["languages"] == {"de": 2, "en": 1}
    assert (reply.output["undecided"], reply.confidence) == (1, 0.75)


MARKDOWN = "Intro.\n\n# One #\ntext\n\nmore\n\nTwo\n===\n## Three\nlast"


@pytest.mark.parametrize(
    ("given", "parts"),
    [
        (
            {"into": "sections"},
            [("", "Intro."), ("One", "text\n\nmore"), ("Two", ""), ("Three", "last")],
        ),
        (
            {"into": ["paragraphs"]},
            [
                ("", "Intro."),
                ("", "# One #\ntext"),
                ("", "more"),
                ("", "Two\n===\n## Three\nlast"),
            ],
        ),
        (
            {"question": "Split it into sentences"},
            [
                ("", each)
                for each in (
                    "Intro.",
                    "# One #",
                    "text",
                    "more",
                    "Two",
                    "===",
                    "## Three",
                    "last",
                )
            ],
        ),
    ],
)
def test_texts_are_cut_into_parts(given: Any, parts: Any) -> None:
    output = analyse("split", texts=[MARKDOWN], **given)

    assert [(each["heading"], each["text"]) for each in output["parts"]] == parts
    assert [each["number"] for each in output["parts"]] == list(
        range(1, len(parts) + 1)
    )


def test_a_sum_is_that_of_the_text_to_the_letter() -> None:
    first, second, third = analyse("checksum", texts=["é\n", "é\n", "Pay [CARD_1]"])[
        "items"
    ]

    assert first["sha256"] == hashlib.sha256("é\n".encode()).hexdigest()
    assert (first["characters"], first["bytes"], first["lines"]) == (2, 3, 1)
    assert second["sha256"] == first["sha256"]
    assert third["sha256"] is None


def test_repeated_texts_are_left_out() -> None:
    text = (
        "The kettle broke after two days, and although I wrote to the shop at once "
        "nobody there cared to answer my letter."
    )
    texts = [
        text,
        text.upper(),
        "Another one.",
        text.replace("letter", "mail"),
        " ".join(text.split()[::-1]),
    ]

    output = analyse("deduplicate_texts", texts=texts)

    assert [each["index"] for each in output["texts"]] == [0, 2, 4]
    assert output["groups"] == [
        {
            "kept": 0,
            "duplicates": [
                {"index": 1, "similarity": 1},
                {"index": 3, "similarity": pytest.approx(0.84, abs=0.01)},
            ],
        }
    ]
    assert (output["exact_count"], output["near_count"]) == (1, 1)


@pytest.mark.parametrize(("similarity", "kept"), [(1, 2), (0.9, 2), (0.5, 1)])
def test_how_alike_texts_must_be_can_be_said(similarity: float, kept: int) -> None:
    texts = ["a b c d e f g h i j", "a b c d e f g h i x"]

    output = analyse("deduplicate_texts", texts=texts, similarity=similarity)

    assert output["kept_count"] == kept


def test_texts_with_different_concealed_values_differ() -> None:
    texts = ["[CARD_1]", "[CARD_2]", "[CARD_1]"]

    assert analyse("deduplicate_texts", texts=texts)["kept_count"] == 2


@pytest.mark.parametrize("similarity", [0, 0.4, 1.1, "0.8", True])
def test_a_similarity_out_of_range_is_refused(similarity: Any) -> None:
    with pytest.raises(ArmInputError, match="similarity"):
        analyse("deduplicate_texts", texts=REVIEWS, similarity=similarity)


def test_very_long_texts_are_compared_as_wholes_and_it_is_said() -> None:
    long = "word " * 6_000

    output = analyse("deduplicate_texts", texts=[long, long + "x", long])

    assert (output["exact_count"], output["near_count"]) == (1, 0)
    assert "2 long texts were compared as wholes only" in output["method"]


@pytest.mark.parametrize(
    ("a", "b", "diff"),
    [
        ("x\ny\nz", "x\nz\nw", "@@ -1,3 +1,3 @@\n x\n-y\n z\n+w"),
        ("One. Two.", "One. Three.", "@@ -1,2 +1,2 @@\n One.\n-Two.\n+Three."),
        (["a", "b\nc"], ["b c"], "@@ -1,2 +1 @@\n-a\n b c"),
        ("a\n\nb", "a\nb", "@@ -1,3 +1,2 @@\n a\n-\n b"),
        ("same", "same", ""),
    ],
)
def test_a_diff_shows_what_changed(a: Any, b: Any, diff: str) -> None:
    output = analyse("diff", a=a, b=b)

    assert output["diff"] == diff
    assert output["is_same"] is (diff == "")


def test_a_diff_counts_lines_and_rebuilds_both_texts() -> None:
    a = [f"line {number % 7}" for number in range(60)]
    b = [line for number, line in enumerate(a) if number % 5] + ["end"]

    output = analyse("diff", a="\n".join(a), b="\n".join(b))

    assert output["unchanged_count"] + output["removed_count"] == len(a)
    assert output["unchanged_count"] + output["added_count"] == len(b)
    lines = [line for line in output["diff"].splitlines() if not line.startswith("@@")]
    assert output["removed_count"] == sum(line[0] == "-" for line in lines) == 12


@pytest.mark.parametrize(("a", "b"), [(None, "x"), ("x", ""), ("x", [])])
def test_a_diff_with_nothing_says_what_to_supply(a: Any, b: Any) -> None:
    with pytest.raises(MissingInputError, match="supply"):
        analyse("diff", a=a, b=b)


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ("a\nb\n" * 5_000, "b\na\n" * 5_000),
        (
            "".join(f"{n % 100}\n" for n in range(5_000)),
            "".join(f"{n * 7 % 100}\n" for n in range(5_000)),
        ),
        (
            "".join(f"{n}\n" for n in range(20_000)),
            "".join(f"{n}\n" for n in range(20_000, 0, -1)),
        ),
    ],
)
@pytest.mark.timeout(30)
def test_texts_made_to_be_slow_are_compared_within_bounds(a: str, b: str) -> None:
    output = analyse("diff", a=a, b=b)

    assert output["unchanged_count"] + output["added_count"] == len(b.splitlines())


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
