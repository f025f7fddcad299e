"""What providers answer is not trusted: each oddity has its outcome and its charge."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest

from arms.clients import MAX_ANSWER_BYTES
from octollm.errors import (
    ModelAnswerError,
    ModelError,
    ModelMisconfiguredError,
    ModelRefusedError,
    ModelTruncatedError,
)
from tests import fakes
from tests.fakes import Answer, FakeModel
from tests.ledgers import MemoryMeter
from tests.models import ask


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>hm {1}</think> Three.", "Three."),
        ("so it is\n</think>\nThree.", "Three."),
        ("<thinking>a</thinking>Three.<think>b", "Three."),
        ([{"type": "text", "text": "Thr"}, {"type": "text", "text": "ee."}], "Three."),
    ],
)
def test_thoughts_are_no_answer(
    model: FakeModel, meter: MemoryMeter, text: Any, expected: str
) -> None:
    model.will(fakes.completion(text))

    assert ask(meter).text == expected


COMPLETION = b'{"choices": [{"message": {"content": "ok"}}]}'
UNUSABLE: dict[str, tuple[Answer, type[ModelError], str]] = {
    "html": (fakes.html(), ModelAnswerError, "presumed"),
    "string": (fakes.raw('"a bare string"'), ModelAnswerError, "presumed"),
    "list": (fakes.raw("[1]"), ModelAnswerError, "presumed"),
    "broken": (fakes.raw("{broken"), ModelAnswerError, "presumed"),
    "deep": (fakes.raw("[" * 100_000), ModelAnswerError, "presumed"),
    "not UTF-8": (fakes.raw(b'{"a": "\xff\xfe"}'), ModelAnswerError, "presumed"),
    "packed": (
        fakes.raw(gzip.compress(COMPLETION), Content_Encoding="gzip"),
        ModelAnswerError,
        "presumed",
    ),
    "choices of text": (fakes.raw('{"choices": ["x"]}'), ModelAnswerError, "settled"),
    "choices as text": (fakes.raw('{"choices": "x"}'), ModelAnswerError, "presumed"),
    "error in a 200": (fakes.raw('{"error": {}}'), ModelAnswerError, "presumed"),
    "no choices": (fakes.without_choices(), ModelAnswerError, "settled"),
    "no content": (fakes.completion(None), ModelAnswerError, "settled"),
    "blank": (fakes.completion("  \n"), ModelAnswerError, "settled"),
    "an object": (fakes.completion({"a": 1}), ModelAnswerError, "settled"),
    "tools": (
        fakes.completion(None, tool_calls=[{"id": "1", "type": "function"}]),
        ModelAnswerError,
        "settled",
    ),
    "thoughts only": (fakes.completion("<think>hm"), ModelAnswerError, "settled"),
    "refusal": (fakes.completion("", refusal="No."), ModelRefusedError, "settled"),
    "filtered": (
        fakes.completion("x", finish_reason="content_filter"),
        ModelRefusedError,
        "settled",
    ),
    "cut off": (
        fakes.completion('{"a": 1}', finish_reason="length"),
        ModelTruncatedError,
        "settled",
    ),
    "401": (fakes.error(401), ModelMisconfiguredError, "released"),
    "404": (fakes.error(404), ModelMisconfiguredError, "released"),
    "302": (
        fakes.error(302, Location="http://x/"),
        ModelMisconfiguredError,
        "released",
    ),
    "no money": (
        fakes.raw(
            '{"error": {"message": "no", "code": "insufficient_quota"}}', status=429
        ),
        ModelMisconfiguredError,
        "released",
    ),
    "odd error": (
        fakes.raw('{"error": {"param": [1], "code": {}}}', status=400),
        ModelError,
        "released",
    ),
    "400": (fakes.error(400), ModelError, "released"),
    "413": (fakes.error(413), ModelError, "released"),
}


@pytest.mark.parametrize(
    ("answer", "error", "outcome"), UNUSABLE.values(), ids=UNUSABLE.keys()
)
def test_each_unusable_answer_has_its_error_and_its_charge(
    model: FakeModel,
    meter: MemoryMeter,
    answer: Answer,
    error: type[ModelError],
    outcome: str,
) -> None:
    model.will(answer)

    with pytest.raises(ModelError) as caught:
        ask(meter)

    assert type(caught.value) is error
    assert not caught.value.is_transient
    assert meter.outcomes == [outcome]
    assert len(model.requests) == 1


@pytest.mark.parametrize(
    "usage",
    [
        None,
        {"prompt_tokens": -5, "completion_tokens": -1},
        {"prompt_tokens": 10**9, "completion_tokens": 10**9},
        {"prompt_tokens": None, "completion_tokens": "many"},
        {"prompt_tokens": True, "completion_tokens": 0},
        "none of your business",
    ],
    ids=["none", "negative", "huge", "other types", "zero", "text"],
)
def test_usage_that_is_missing_or_absurd_is_estimated_at_the_bound(
    model: FakeModel, meter: MemoryMeter, usage: Any
) -> None:
    model.will(fakes.completion("Three.", usage=usage))

    answer = ask(meter)

    assert answer.usage.is_estimated
    assert answer.usage.input_tokens == meter.calls[0].input_tokens
    assert answer.usage.output_tokens == meter.calls[0].output_tokens


def test_cached_tokens_are_noted_and_no_more_than_the_prompt(
    model: FakeModel, meter: MemoryMeter
) -> None:
    usage = {"prompt_tokens": 30, "completion_tokens": 5}
    details = {"prompt_tokens_details": {"cached_tokens": 40}}
    model.will(fakes.completion("Three.", usage=usage | details))

    assert ask(meter).usage.cached_tokens == 30


def test_an_answer_without_end_is_not_read_to_its_end(
    model: FakeModel, meter: MemoryMeter
) -> None:
    sent: list[int] = []
    model.will(fakes.endless(sent))

    with pytest.raises(ModelAnswerError):
        ask(meter)

    # What the sockets hold between the two comes on top.
    assert sum(sent) < MAX_ANSWER_BYTES + 2**25
    assert meter.outcomes == ["presumed"]


def test_an_error_without_end_is_not_read_either(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.error(503, "x" * (MAX_ANSWER_BYTES + 1)))

    with pytest.raises(ModelAnswerError):
        ask(meter)

    assert len(model.requests) == 1


def test_an_answer_of_a_million_choices_is_read_at_once(
    model: FakeModel, meter: MemoryMeter
) -> None:
    many = ",".join(["{}"] * 10**6)
    model.will(fakes.raw(f'{{"choices": [{many}], "usage": [{many}]}}'))

    with pytest.raises(ModelAnswerError):
        ask(meter, timeout_s=10.0)

    assert meter.outcomes == ["settled"]


def test_a_long_answer_is_read(model: FakeModel, meter: MemoryMeter) -> None:
    model.will(fakes.completion("word " * 200_000))

    assert len(ask(meter).text) == 999_999


def test_half_characters_and_nul_are_replaced(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.completion("a\ud800b\0c"))

    assert ask(meter).text == "a?b\N{REPLACEMENT CHARACTER}c"


def test_the_name_that_a_provider_gives_its_model_is_bounded(
    model: FakeModel, meter: MemoryMeter
) -> None:
    body = {"choices": [{"message": {"content": "ok"}}], "model": "m" * 10_000}
    model.will(fakes.raw(json.dumps(body)))

    assert len(ask(meter).model) == 200


def test_usage_is_settled_at_the_price_of_its_tier(
    model: FakeModel, meter: MemoryMeter
) -> None:
    ask(meter)

    assert meter.usages[0].price == meter.calls[0].price
