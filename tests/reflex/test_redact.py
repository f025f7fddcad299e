"""Five ways to write a text without its values, and none of them leaves one."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflex.decide import Checkpoint
from reflex.detection import find_here
from reflex.found import Found
from reflex.redact import Style, redact

TEXT = "a.b@example.org or 4111 1111 1111 1111, again a.b@example.org"


def values_in(text: str) -> list[Found]:
    found = find_here(text, checkpoint=Checkpoint.MODEL_OUTPUT).found
    return [each for each in found if each.is_value]


@pytest.mark.parametrize(
    ("style", "redacted"),
    [
        ("placeholder", "[EMAIL_1] or [CARD_1], again [EMAIL_1]"),
        ("mask", "*.*@*******.*** or **** **** **** ****, again *.*@*******.***"),
        ("partial", "a***@example.org or **** **** **** 1111, again a***@example.org"),
        ("remove", " or , again "),
    ],
)
def test_each_style_writes_values_its_way(style, redacted):
    assert redact(TEXT, values_in(TEXT), Style(style)) == redacted


def test_hash_is_the_same_for_the_same_value_and_by_our_key(settings):
    first = redact(TEXT, values_in(TEXT), Style.HASH)
    mail, _, _, _, again = first.replace(", ", " ").split(" ")[:5]
    settings.OCTOLLM_HMAC_KEY = "another-key-of-enough-length-for-this"

    assert mail == again
    assert first.startswith("[EMAIL#")
    assert redact(TEXT, values_in(TEXT), Style.HASH) != first


def test_partial_shows_at_most_a_third_and_nothing_of_a_secret():
    text = "password: hunter22!Q ssn 536-32-3065"

    redacted = redact(text, values_in(text), Style.PARTIAL)

    assert redacted == "password: ********** ssn ***-**-*065"


VALUES = st.sampled_from(
    [
        "ada@example.org",
        "4111 1111 1111 1111",
        "3782 822463 10005",
        "GB82 WEST 1234 5698 7654 32",
        "ssn 536-32-3065",
        "+44 7392 931058",
        "203.0.113.7",
        "2001:db8::8a2e:370:7334",
        "password: hunter22!Q",
        "https://ada:s3cret9@example.org/x",
        "Authorization: Bearer abcdefgh12345678abcdefgh",
    ]
)
BETWEEN = st.sampled_from([" or ", ", then ", "\nand ", ". And ", " \u00fcber "])


@settings(deadline=None, max_examples=150)
@given(
    parts=st.lists(st.tuples(VALUES, BETWEEN), min_size=1, max_size=5),
    style=st.sampled_from(Style),
)
def test_no_style_leaves_a_value(parts, style):
    text = "".join(value + between for value, between in parts)

    redacted = redact(text, values_in(text), style)

    assert values_in(text)
    assert values_in(redacted) == []
