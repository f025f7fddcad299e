"""What a text is held for before anybody has counted its tokens."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.token_counts import estimate_tokens

PROSE = (
    "The screen broke after a week and nobody answered my mails. Great phone all the "
    "same: the camera is superb and the battery lasts for two days. "
)


def test_english_prose_is_not_held_for_much_more_than_it_has():
    """The tokenizers that were measured make 31 tokens of it, give or take two."""
    assert 30 <= estimate_tokens(PROSE) <= 42
    assert estimate_tokens(PROSE * 360) < len(PROSE) * 360 / 3.3


@pytest.mark.parametrize(
    ("text", "least"),
    [
        # Some tokenizers take digits one by one.
        ("12345678", 8),
        ("1.5,2.5,3.5\n", 8),
        (json.dumps({"id": 1, "score": 0.25}), 11),
        ("Żółć", 4),
        ("Привет", 3),
        ("γειά", 4),
        ("שלום", 4),
        ("สวัสดี", 6),
        ("你好世界", 4),
        ("🎉🔥", 4),
    ],
)
def test_what_takes_more_tokens_is_held_for_more(text: str, least: int):
    assert least <= estimate_tokens(text) <= 2 * len(text.encode())


def test_nothing_is_nothing_and_a_run_of_spaces_little():
    assert estimate_tokens("") == 0
    assert estimate_tokens(" " * 160) == 10


@given(st.text(max_size=200), st.text(max_size=200))
def test_it_grows_with_the_text_and_never_fails(one: str, other: str):
    both = estimate_tokens(one + other)

    assert max(estimate_tokens(one), estimate_tokens(other)) <= both
    assert both <= estimate_tokens(one) + estimate_tokens(other)


def test_half_a_character_is_counted():
    assert estimate_tokens("\ud800") > 0
