"""The one door to models, against a scripted server on a real socket."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from arms.answers import Completion
from arms.llm import ANY_OBJECT, Message, complete, is_configured
from arms.provider_errors import retry_after_s
from octollm.errors import (
    BudgetExceededError,
    CallCancelledError,
    DeadlineExceededError,
    ModelAnswerError,
    ModelError,
    ModelFormatError,
    ModelMisconfiguredError,
    ModelRefusedError,
    ModelTruncatedError,
    ModelUnavailableError,
    OctoLLMError,
    UnpricedModelError,
)
from octollm.resilience import outbound
from tests import fakes
from tests.fakes import Answer, FakeModel
from tests.ledgers import MemoryMeter, make_services
from tests.waiting import wait_until

PROMPT = (
    Message(role="system", content="You answer briefly."),
    Message(role="user", content="How many reviews are there?"),
)
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}}}


@pytest.fixture
def model(settings: Any) -> Iterator[FakeModel]:
    with FakeModel() as fake:
        settings.OCTOLLM_LLM_BASE_URL = fake.base_url
        settings.OCTOLLM_LLM_MODEL = "fake-model"
        settings.OCTOLLM_LLM_API_KEY = "key-of-tests"
        yield fake
        outbound.shutdown()


@pytest.fixture
def meter() -> MemoryMeter:
    return MemoryMeter()


def ask(meter: MemoryMeter, *, timeout_s: float = 20.0, **options: Any) -> Completion:
    fields: dict[str, Any] = {"purpose": "planning", "max_output_tokens": 200}
    return complete(
        PROMPT, services=make_services(meter, timeout_s=timeout_s), **(fields | options)
    )


def test_an_answer_comes_back_and_is_settled(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.completion("Three."))

    answer = ask(meter)

    assert answer.text == "Three."
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (100, 50)
    assert not answer.usage.is_estimated
    assert meter.outcomes == ["settled"]


def test_what_is_sent_is_the_prompt_the_model_and_the_limits(
    model: FakeModel, meter: MemoryMeter
) -> None:
    ask(meter, temperature=0.0)

    sent = model.requests[0]
    assert sent.path == "/v1/chat/completions"
    assert sent.headers["authorization"] == "Bearer key-of-tests"
    assert sent.body == {
        "model": "fake-model",
        "messages": [{"role": m.role, "content": m.content} for m in PROMPT],
        "max_tokens": 200,
        "temperature": 0.0,
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        (ANY_OBJECT, {"type": "json_object"}),
        (
            SCHEMA,
            {
                "type": "json_schema",
                "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
            },
        ),
    ],
)
def test_an_answer_format_is_asked_for(
    model: FakeModel, meter: MemoryMeter, schema: Any, expected: Any
) -> None:
    ask(meter, json_schema=schema)

    assert model.requests[0].body["response_format"] == expected


def test_the_hold_is_an_upper_bound_of_the_call(
    model: FakeModel, meter: MemoryMeter
) -> None:
    ask(meter, max_output_tokens=321)

    call = meter.calls[0]
    sizes = [len(message.content.encode()) for message in PROMPT]
    assert call.input_tokens == sum(-(-size // 3) + 4 for size in sizes)
    assert call.output_tokens == 321
    assert call.price.source == "private address"


@pytest.mark.parametrize(
    "name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"]
)
def test_what_the_environment_holds_for_another_provider_does_not_leak(
    model: FakeModel, meter: MemoryMeter, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "leaked-value")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Leak: leaked-value")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:1/leaked-value")

    ask(meter)

    sent = model.requests[0].headers
    assert "leaked-value" not in json.dumps(sent)
    assert not {"openai-organization", "openai-project", "x-leak"} & sent.keys()


def test_private_values_leave_as_their_type(
    model: FakeModel, meter: MemoryMeter
) -> None:
    address, secret = "ann" + "@example.com", "AKIA" + "IOSFODNN7EXAMPLE"
    prompt = [Message(role="user", content=f"To [EMAIL_1] or {address}, {secret}.")]

    complete(
        prompt,
        purpose="analysis",
        services=make_services(meter),
        max_output_tokens=10,
    )

    assert model.requests[0].body["messages"][0]["content"] == (
        "To [EMAIL_1] or [EMAIL], [SECRET]."
    )
    assert address not in model.sent_text
    assert secret not in model.sent_text


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


UNUSABLE: dict[str, tuple[Answer, type[ModelError], str]] = {
    "html": (fakes.html(), ModelAnswerError, "presumed"),
    "string": (fakes.raw('"a bare string"'), ModelAnswerError, "presumed"),
    "list": (fakes.raw("[1]"), ModelAnswerError, "presumed"),
    "broken": (fakes.raw("{broken"), ModelAnswerError, "presumed"),
    "deep": (fakes.raw("[" * 100_000), ModelAnswerError, "presumed"),
    "error in a 200": (fakes.raw('{"error": {}}'), ModelAnswerError, "presumed"),
    "no choices": (fakes.without_choices(), ModelAnswerError, "settled"),
    "no content": (fakes.completion(None), ModelAnswerError, "settled"),
    "blank": (fakes.completion("  \n"), ModelAnswerError, "settled"),
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
    "answer",
    [
        fakes.error(400, "response_format is not supported"),
        fakes.error(422, "extra field"),
        fakes.error(404, "json_schema: no such feature"),
        fakes.error(500, "does not match the expected peg-native format"),
        fakes.error(500, "Input should be 'text' or 'json_object'"),
    ],
    ids=["400", "422", "404", "llama.cpp", "llama-cpp-python"],
)
def test_a_format_the_server_cannot_do_is_told_apart(
    model: FakeModel, meter: MemoryMeter, answer: Answer
) -> None:
    model.will(answer)

    with pytest.raises(ModelFormatError):
        ask(meter, json_schema=SCHEMA)

    assert len(model.requests) == 1
    assert meter.outcomes == ["released"]


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


@pytest.mark.parametrize(
    "failures",
    [
        [fakes.error(429, Retry_After="0")],
        [fakes.error(503), fakes.error(500)],
        [fakes.reset()],
    ],
    ids=["429", "503 and 500", "reset"],
)
def test_a_passing_failure_is_tried_again(
    model: FakeModel, meter: MemoryMeter, failures: list[Answer]
) -> None:
    model.will(*failures, fakes.completion("Three."))

    assert ask(meter).text == "Three."
    assert len(model.requests) == len(failures) + 1
    assert meter.outcomes[-1] == "settled"
    assert "held" not in meter.outcomes


def test_three_failures_are_enough(model: FakeModel, meter: MemoryMeter) -> None:
    model.default = fakes.error(503)

    with pytest.raises(ModelUnavailableError) as caught:
        ask(meter)

    assert caught.value.is_transient
    assert len(model.requests) == 3
    assert meter.outcomes == ["released"] * 3


def test_retry_after_is_honoured(model: FakeModel, meter: MemoryMeter) -> None:
    model.will(fakes.error(429, Retry_After="1"), fakes.completion("Three."))
    started = time.monotonic()

    ask(meter)

    assert 1.0 <= time.monotonic() - started < 4


def test_a_wish_to_wait_beyond_the_deadline_ends_the_call_at_once(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.error(429, Retry_After="130"))
    started = time.monotonic()

    with pytest.raises(ModelUnavailableError) as caught:
        ask(meter, timeout_s=10)

    assert caught.value.retry_after_s == 130
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("2.5", 2.5),
        ("-4", 0.0),
        ("nan", None),
        ("inf", None),
        ("soon", None),
        ("", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(
    wish: str, expected: float | None
) -> None:
    assert retry_after_s({"retry-after": wish}) == expected


@pytest.mark.parametrize("answer", [fakes.hang(), fakes.drip()], ids=["hang", "drip"])
def test_the_wall_clock_ends_a_hang_and_a_drip(
    model: FakeModel, meter: MemoryMeter, answer: Answer
) -> None:
    model.will(answer)
    started = time.monotonic()

    with pytest.raises(DeadlineExceededError):
        ask(meter, timeout_s=1.5)

    assert time.monotonic() - started < 4
    assert meter.outcomes == ["presumed"]


def test_one_try_has_a_limit_of_its_own(
    model: FakeModel, meter: MemoryMeter, settings: Any
) -> None:
    settings.OCTOLLM_LLM_TIMEOUT_S = 0.5
    model.will(fakes.hang(), fakes.completion("Three."))

    assert ask(meter).text == "Three."
    assert meter.outcomes == ["presumed", "settled"]


def test_cancel_closes_the_socket_within_two_seconds(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.hang())
    services = make_services(meter)
    moments: list[float] = []

    def cancel_when_asked() -> None:
        wait_until(lambda: model.requests, timeout_s=10)
        moments.append(time.monotonic())
        services.stop.cancel()

    canceller = threading.Thread(target=cancel_when_asked)
    canceller.start()
    with pytest.raises(CallCancelledError):
        complete(PROMPT, purpose="coding", services=services, max_output_tokens=9)
    canceller.join()

    closed = wait_until(lambda: model.closed, timeout_s=3)
    assert closed[0] - moments[0] < 2
    assert meter.outcomes == ["presumed"]


def test_nobody_listening_costs_nothing(
    model: FakeModel, meter: MemoryMeter, settings: Any
) -> None:
    settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:9/v1"

    with pytest.raises(ModelUnavailableError):
        ask(meter)

    assert meter.outcomes == ["released"] * 3


def test_a_resumed_attempt_gets_the_recorded_answer(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.completion("First."), fakes.completion("Second."))
    first = ask(meter)
    meter.next_attempt()

    again = ask(meter)

    assert (first.text, again.text) == ("First.", "First.")
    assert again.is_replayed
    assert len(model.requests) == 1


def test_a_recorded_refusal_stays_a_refusal(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.will(fakes.completion(None, refusal="No."))
    with pytest.raises(ModelRefusedError):
        ask(meter)
    meter.next_attempt()

    with pytest.raises(ModelRefusedError):
        ask(meter)

    assert len(model.requests) == 1


def test_a_refused_reservation_sends_nothing(model: FakeModel) -> None:
    with pytest.raises(BudgetExceededError):
        ask(MemoryMeter(max_tokens=100))

    assert model.requests == []


@pytest.mark.parametrize(
    ("base_url", "error"),
    [
        ("", ModelMisconfiguredError),
        ("https://models.example.org/v1", UnpricedModelError),
    ],
)
def test_without_an_address_or_a_price_nothing_is_called(
    settings: Any, meter: MemoryMeter, base_url: str, error: type[OctoLLMError]
) -> None:
    settings.OCTOLLM_LLM_BASE_URL = base_url
    settings.OCTOLLM_LLM_MODEL = "fake-model"

    with pytest.raises(error):
        ask(meter)

    assert meter.calls == []


def test_it_is_configured_by_address_and_name(settings: Any) -> None:
    assert not is_configured()

    settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:9/v1"
    settings.OCTOLLM_LLM_MODEL = "m"

    assert is_configured()
