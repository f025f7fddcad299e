"""Cutting texts into passages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.knowledge.chunking import MAX_LENGTH, cut
from reflex.placeholders import PLACEHOLDER


def passages(text: str) -> list[str]:
    return [text[span.start : span.end] for span in cut(text)]


def test_a_short_text_is_one_passage_without_its_outer_space() -> None:
    assert passages("  A fine kettle.\n") == ["A fine kettle."]


def test_blank_text_has_no_passage() -> None:
    assert passages(" \n ") == []


@pytest.mark.parametrize("separator", ["\n\n", "\n", ". ", " "])
def test_passages_end_where_the_text_has_a_break(separator: str) -> None:
    block = "x" * 600
    text = separator.join([block] * 4)

    cuts = passages(text)

    assert len(cuts) == 4
    assert [each.strip(".") for each in cuts] == [block] * 4


def test_a_paragraph_is_a_better_place_than_a_sentence() -> None:
    text = "a" * 600 + "\n\n" + "b" * 200 + ". " + "c" * 400

    assert passages(text)[0] == "a" * 600


def test_a_placeholder_is_never_cut() -> None:
    text = "x" * (MAX_LENGTH - 4) + "[EMAIL_K12]" + "y" * 50

    cuts = passages(text)

    assert sum(len(PLACEHOLDER.findall(each)) for each in cuts) == 1


@given(st.text(alphabet="ab .\n[]_K1é", max_size=4_000))
def test_passages_hold_all_visible_characters_in_order(text: str) -> None:
    cuts = passages(text)

    assert "".join("".join(cuts).split()) == "".join(text.split())
    assert all(0 < len(each) <= MAX_LENGTH for each in cuts)


def test_cutting_takes_time_in_proportion_to_the_length() -> None:
    text = "word " * 200_000

    assert len(passages(text)) >= 1_000
