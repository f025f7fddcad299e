"""The one door to models, against a scripted server on a real socket."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

from arms.clients import client_of
from arms.llm import Message, complete, identity, is_configured
from arms.provider_errors import retry_after_s
from arms.providers import providers_for
from arms.token_counts import estimate_tokens
from octollm.errors import (
    BudgetExceededError,
    CallCancelledError,
    DeadlineExceededError,
    ModelMisconfiguredError,
    ModelRefusedError,
    ModelUnavailableError,
    OctoLLMError,
    UnpricedModelError,
)
from tests import fakes
from tests.fakes import Answer, FakeModel
from tests.ledgers import MemoryMeter, make_services
from tests.models import PROMPT, SCHEMA, ask
from tests.waiting import wait_until


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
    assert model.base_url.endswith(sent.path.removesuffix("/chat/completions"))
    assert sent.headers["authorization"] == "Bearer key-of-tests"
    assert sent.body == {
        "model": "fake-model",
        "messages": [{"role": m.role, "content": m.content} for m in PROMPT],
        "max_tokens": 200,
        "temperature": 0.0,
    }


def test_the_hold_is_a_careful_estimate_of_the_call(
    model: FakeModel, meter: MemoryMeter
) -> None:
    ask(meter, max_output_tokens=321)

    call = meter.calls[0]
    counts = [estimate_tokens(message.content) for message in PROMPT]
    assert call.input_tokens == sum(count + 4 for count in counts)
    assert call.output_tokens == 321
    assert call.price.source == "private address"


@pytest.mark.parametrize(
    "name", ["OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"]
)
def test_what_the_environment_holds_for_another_provider_does_not_leak(
    model: FakeModel, meter: MemoryMeter, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "leaked-value")
    monkeypatch.setenv(
        "OPENAI_CUSTOM_HEADERS",
        "X-Leak: leaked-value\nAuthorization: Bearer leaked-value",
    )
    monkeypatch.setenv("OPENAI_API_KEY", "leaked-value")
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


def test_one_answer_is_replayed_once(model: FakeModel, meter: MemoryMeter) -> None:
    model.will(fakes.error(503), fakes.completion("First."), fakes.completion("Then."))
    ask(meter)
    meter.next_attempt()

    texts = [ask(meter).text, ask(meter).text]

    assert texts == ["First.", "Then."]
    assert len(model.requests) == 3


@pytest.mark.parametrize(
    "other",
    [
        {"purpose": "judging"},
        {"temperature": 0.7},
        {"max_output_tokens": 201},
        {"json_schema": SCHEMA},
        {"messages": PROMPT[1:]},
    ],
    ids=lambda other: next(iter(other)),
)
def test_another_question_is_not_answered_by_a_record(
    model: FakeModel, meter: MemoryMeter, other: dict[str, Any]
) -> None:
    ask(meter)
    meter.next_attempt()

    assert not ask(meter, **other).is_replayed


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


def test_an_identity_names_models_and_addresses_and_no_key(settings: Any) -> None:
    one = {"name": "a", "base_url": "http://h/v1", "model": "m", "api_key": "secret"}
    settings.OCTOLLM_LLM_PROVIDERS = [one, one | {"name": "b", "model": "n"}]

    assert identity("planning") == "m at http://h/v1, n at http://h/v1"


def test_settings_that_cannot_be_read_are_an_error_when_asked(
    settings: Any, meter: MemoryMeter
) -> None:
    settings.OCTOLLM_LLM_PROVIDERS = [{"name": "a"}]

    assert is_configured()
    with pytest.raises(ModelMisconfiguredError, match="check"):
        ask(meter)


def test_the_library_is_only_loaded_by_a_call() -> None:
    script = (
        "import django; django.setup()\nimport sys\n"
        "from arms import llm\nfrom planner import planning\n"
        "print([name for name in ('openai', 'httpx2') if name in sys.modules])"
    )

    printed = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout

    assert printed.strip() == "[]"


def test_a_forked_process_has_a_client_of_its_own(
    model: FakeModel, meter: MemoryMeter
) -> None:
    ask(meter)
    (provider,) = providers_for("planning")
    mine = id(client_of(provider))

    child = os.fork()
    if child == 0:
        os._exit(id(client_of(provider)) == mine)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 0
    assert id(client_of(provider)) == mine


def test_it_is_configured_by_address_and_name(settings: Any) -> None:
    assert not is_configured()

    settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:9/v1"
    settings.OCTOLLM_LLM_MODEL = "m"

    assert is_configured()
