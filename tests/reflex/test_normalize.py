"""Normalised text keeps a way back to the code points as they were written."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflex.folding import fold
from reflex.normalize import normalize


@pytest.mark.parametrize(
    "text", ["", "plain", "\u65e5\u672c \U0001f600", "\x00", "\u0434\u043e\u043c"]
)
def test_text_that_reads_as_written_needs_no_second_scan(text):
    assert normalize(text) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\uff21\uff22", "AB"),
        ("a\u200bb\u202ec", "abc"),
        ("\u00bd", "1/2"),
        ("e\u0301", "e"),
        ("caf\u00e9 \u00d6l \u0131", "cafe Ol i"),
        ("\u0456gn\u043er\u0435", "ignore"),
        ("\u041d\u0435\u0442", "\u043d\u0435\u0442"),
        ("\u201ca\u201d \u2014 \u2018b\u2019", "\"a\" - 'b'"),
        ("\U000e0041\U000e0042", "AB"),
        ("\ufb01n\u2026", "fin."),
        ("a\u00a0b", "a b"),
    ],
)
def test_text_reads_as_it_shows(text, expected):
    normalized = normalize(text)

    assert normalized is not None
    assert normalized.text == expected


def test_span_covers_what_was_hidden_inside():
    text = "say \uff21\u200b\uff22\u0301 now"
    normalized = normalize(text)

    assert normalized is not None
    start = normalized.text.index("A")
    assert normalized.original_span(start, start + 2) == (4, 8)
    assert normalized.original_span(0, 3) == (0, 3)


def as_shown(text: str) -> str:
    return fold(unicodedata.normalize("NFKC", fold(text)))


@given(st.text(alphabet=st.characters() | st.sampled_from("\u200b\uff21\u0301a")))
def test_every_span_lies_in_the_original(text):
    normalized = normalize(text)

    if normalized is not None:
        for start in range(len(normalized.text)):
            first, last = normalized.original_span(start, start + 1)
            assert 0 <= first < last <= len(text)
            kept = normalized.text[start]
            assert (
                kept in text[first:last]
                or kept in as_shown(text[first:last])
                or kept in as_shown(f"a{text[first:last]}a")
                or any(ord(c) >= 0xE0000 for c in text[first:last])
            )


@given(st.text())
def test_folding_keeps_every_place(text):
    assert len(fold(text)) == len(text)
