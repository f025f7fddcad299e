"""Texts measured, cut into parts, told apart; their language and readability."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from arms.services.analyst import languages, readability
from arms.services.analyst.arm import AnalystArm
from octollm.errors import ArmInputError, MissingInputError
from tests.arms.services.requests import output_of, run

REVIEWS = ["The battery life is great.", "Battery life is poor.", "It came in a box."]


def analyse(capability: str, **given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


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
