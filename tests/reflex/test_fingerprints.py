"""Fingerprints: equal for equal values, useless without the key."""

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from octollm.types import JSONValue
from reflex.fingerprints import fingerprint


def test_order_of_keys_does_not_matter():
    one = fingerprint({"a": 1, "b": [2, None]}, purpose="x")

    assert one == fingerprint({"b": [2, None], "a": 1}, purpose="x")
    assert one != fingerprint({"a": 1, "b": [None, 2]}, purpose="x")


def test_kinds_of_values_are_told_apart():
    values: list[bytes | JSONValue] = [b"1", "1", 1, 1.5, ["1"], None]

    prints = {fingerprint(value, purpose="x") for value in values}

    assert len(prints) == 6


def test_purposes_and_keys_are_told_apart(settings):
    first = fingerprint("v", purpose="a")
    second = fingerprint("v", purpose="b")
    settings.OCTOLLM_HMAC_KEY = "another-key-" + "z" * 32

    assert len({first, second, fingerprint("v", purpose="a")}) == 3


def test_it_is_no_plain_hash():
    assert fingerprint("536-32-3065", purpose="x") != (
        hashlib.sha256(b"536-32-3065").hexdigest()
    )


@given(st.text(alphabet=st.characters()))
def test_any_text_has_one(text):
    assert len(fingerprint(text, purpose="x")) == len(fingerprint([text], purpose="x"))
