"""The JSON we accept, and what we say to the rest."""

from __future__ import annotations

import contextlib
import json
import time
from io import BytesIO
from types import SimpleNamespace

import pytest
from rest_framework.test import APIClient

from octollm.errors import MalformedBodyError
from octollm.parsers import MAX_DEPTH, MAX_INTEGER_DIGITS, StrictJSONParser, loads

pytestmark = pytest.mark.urls("tests.octollm.api_urls")

BACKSLASH = "\\"
GOAL = json.dumps({"goal": "Summarise the reviews", "context": {"a": [1, 2.5]}})


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


@pytest.mark.parametrize(
    "text",
    [
        "{}",
        '{"goal": "Grüße, 你好, 🐙"}',
        '{"a": "\\ud83d\\udc19"}',
        '{"a": "\\\\u0000"}',
        '{"a": "\\\\ud800"}',
        '{"a": 12345678901234567890, "b": -0.5e-10, "c": [true, null]}',
        " \r\n\t{} ",
    ],
)
def test_json_is_read_as_python_reads_it(text: str) -> None:
    assert loads(text.encode()) == json.loads(text)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"a": 1,}', "not JSON"),
        (b"{'a': 1}", "not JSON"),
        (b'{"a": 1} {"b": 2}', "not JSON"),
        (b'\xef\xbb\xbf{"a": 1}', "not JSON"),
        (b'{"a": "\x00"}', "not JSON"),
        (b'{"a": "line\nbreak"}', "not JSON"),
        (b'{"a": 01}', "not JSON"),
        (b'{"a": "\xff"}', "not UTF-8: byte 7"),
        (b'{"a": "\xed\xa0\x80"}', "not UTF-8"),
        (rb'{"a": "x\u0000"}', "NUL"),
        (rb'{"a": "\\\u0000"}', "NUL"),
        (rb'{"\u0000": 1}', "NUL"),
        (rb'{"a": "\ud800"}', "surrogate"),
        (rb'{"a": "\udc19\ud83d"}', "surrogate"),
        (rb'{"a": {"\uDFFF": 1}}', "surrogate"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"x": {"a": 1, "b": 2, "a": 1}}', "twice"),
        (b'{"a": NaN}', "NaN"),
        (b'{"a": [Infinity]}', "NaN"),
        (b'{"a": -Infinity}', "NaN"),
        (b'{"a": 1e400}', "too large"),
        (b'{"a": -1e400}', "too large"),
        (b'{"a": ' + b"9" * (MAX_INTEGER_DIGITS + 1) + b"}", "integer"),
        (b'{"a": ' + b"9" * 100_000 + b"}", "integer"),
        (nested(MAX_DEPTH + 1), "nested"),
        (nested(10_000), "nested"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested"),
        (b"[" * 10_000, "nested"),
    ],
)
def test_what_can_be_read_in_two_ways_is_refused(body: bytes, said: str) -> None:
    with pytest.raises(MalformedBodyError, match=said):
        loads(body)


def test_nesting_up_to_the_limit_is_accepted() -> None:
    assert loads(nested(MAX_DEPTH)) is not None


def test_integers_up_to_the_limit_fit_a_double() -> None:
    value = loads(b"[" + b"9" * MAX_INTEGER_DIGITS + b"]")
    assert isinstance(value, list)
    assert float(str(value[0])) < float("inf")


def test_brackets_in_a_text_are_no_nesting() -> None:
    text = "[" * 5_000
    assert loads(json.dumps({"a": text}).encode()) == {"a": text}


def test_the_fault_repeats_nothing_of_the_body() -> None:
    secret = "4111 1111 1111 1111"
    for body in (f'{{"a": {secret}}}', f'{{"{secret}": 1, "{secret}": 2}}', secret):
        with pytest.raises(MalformedBodyError) as caught:
            loads(body.encode())
        assert "4111" not in caught.value.message
        assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"a": "' + BACKSLASH.encode() * 200_000 + b'"}',
        b'{"a": "' + b"\\u0041" * 30_000 + b'"}',
        b'{"a": "' + b"\\\\u0000" * 30_000 + b'"}',
        b'{"a": [' + b"[]," * 60_000 + b"[]]}",
        b"[" * 200_000,
        b'{"a": ' + b"1" * 200_000 + b"}",
        b'{"a": 0.' + b"1" * 200_000 + b"}",
    ],
    ids=["backslashes", "escapes", "false-nuls", "wide", "deep", "long", "fraction"],
)
def test_a_hostile_body_costs_little(body: bytes) -> None:
    started = time.process_time()
    with contextlib.suppress(MalformedBodyError):
        loads(body)
    # Some 10 ms; the bound is for runs under coverage. Anything that is not linear
    # takes minutes at these sizes.
    assert time.process_time() - started < 2.0


def test_a_clean_body_costs_microseconds() -> None:
    body = json.dumps(
        {
            "goal": "Analyze sentiment of product reviews " * 8,
            "constraints": ["No PII"],
            "acceptance_criteria": ["Sentiment score -1 to 1"],
            "context": {"reviews": ["good", "bad"], "limit": 20},
        }
    ).encode()

    def best() -> float:
        started = time.perf_counter()
        for _ in range(100):
            loads(body)
        return (time.perf_counter() - started) / 100

    # The best of many rounds: the machine may be busy, the code is not slower for it.
    assert min(best() for _ in range(20)) < 60e-6


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""],
)
def test_other_content_types_are_refused(content_type: str) -> None:
    response = APIClient().generic("POST", "/echo", GOAL, content_type=content_type)
    assert response.status_code == 415
    assert response.json()["code"] == "unsupported_media_type"
    assert content_type not in response.json()["detail"] or not content_type


def test_a_charset_after_the_content_type_is_accepted() -> None:
    response = APIClient().generic(
        "POST", "/raw", '{"a": 1}', content_type="application/json; charset=utf-8"
    )
    assert response.json() == {"got": {"a": 1}}


def test_a_body_over_the_limit_is_refused_before_it_is_read() -> None:
    response = APIClient().generic(
        "POST", "/raw", "x" * 101, content_type="application/json"
    )
    # Not malformed_json: the body would not have parsed either.
    assert response.status_code == 413
    assert response.json()["code"] == "body_too_large"
    assert "100 bytes" in response.json()["detail"]


def test_the_limit_of_the_settings_holds_for_other_views(settings) -> None:
    settings.OCTOLLM_MAX_BODY_BYTES = 20
    response = APIClient().post("/echo", {"goal": "g" * 20}, format="json")
    assert response.status_code == 413


def test_a_form_over_the_limit_is_refused_for_everybody(settings) -> None:
    settings.OCTOLLM_MAX_BODY_BYTES = 20
    response = APIClient().generic(
        "POST", "/admin/login/", "x" * 21, "application/x-www-form-urlencoded"
    )
    assert response.status_code == 413


@pytest.mark.parametrize("length", ["-1", "1e3", "²", "0x10"])
def test_a_length_that_is_no_number_is_refused(length: str) -> None:
    response = APIClient().post(
        "/echo", {"goal": "g"}, format="json", CONTENT_LENGTH=length
    )
    assert response.status_code == 411


def test_a_body_shorter_than_its_length_is_refused() -> None:
    request = SimpleNamespace(META={"CONTENT_LENGTH": "50"})
    with pytest.raises(MalformedBodyError, match="shorter"):
        StrictJSONParser().parse(BytesIO(b"{}"), parser_context={"request": request})


def test_a_list_is_taken_only_where_the_view_says_so() -> None:
    there = APIClient().post("/raw", [1], format="json")
    elsewhere = APIClient().post("/echo", [1], format="json")
    assert there.json() == {"got": [1]}
    assert elsewhere.json()["code"] == "malformed_json"


@pytest.mark.parametrize("body", ["1", '"text"', "null", "true"])
def test_a_bare_value_is_refused(body: str) -> None:
    response = APIClient().generic("POST", "/raw", body, "application/json")
    assert response.status_code == 400


def test_an_empty_body_is_an_empty_object() -> None:
    response = APIClient().generic("POST", "/echo", "", "application/json")
    assert response.status_code == 400
    assert response.json()["errors"][0]["pointer"] == "#/goal"
