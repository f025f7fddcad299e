"""Several providers: their order, who is asked when one fails, and who is left alone."""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from arms.llm import complete
from arms.providers import SINGLE
from octollm.errors import (
    BudgetBusyError,
    BudgetExceededError,
    CallCancelledError,
    DeadlineExceededError,
    ModelAnswerError,
    ModelError,
    ModelMisconfiguredError,
    ModelRefusedError,
    ModelTruncatedError,
    ModelUnavailableError,
    OctoLLMError,
    UnpricedModelError,
)
from octollm.resilience import breakers, outbound, rates
from octollm.resilience.models import Breaker
from tests import fakes
from tests.fakes import Answer, FakeModel
from tests.ledgers import MemoryMeter, make_services
from tests.models import PROMPT, SCHEMA, ask, forget_limits

# The default of OCTOLLM_BREAKER_OPEN_S.
OPEN_S = 60.0
pytestmark = pytest.mark.django_db


@pytest.fixture
def first() -> Iterator[FakeModel]:
    with FakeModel(default=fakes.completion("First.")) as fake:
        yield fake


@pytest.fixture
def second() -> Iterator[FakeModel]:
    with FakeModel(default=fakes.completion("Second.")) as fake:
        yield fake
        outbound.shutdown()


@pytest.fixture(autouse=True)
def entries(settings: Any, first: FakeModel, second: FakeModel) -> list[dict[str, Any]]:
    """The two entries of the settings, to be changed in place."""
    forget_limits()
    listed = [
        {"name": "one", "base_url": first.base_url, "model": "m1", "api_key": "key-1"},
        {"name": "two", "base_url": second.base_url, "model": "m2", "api_key": "key-2"},
    ]
    settings.OCTOLLM_LLM_PROVIDERS = listed
    return listed


def row(name: str) -> Breaker | None:
    return Breaker.objects.filter(name=f"llm:{name}").first()


def test_the_preferred_one_is_asked_alone(
    first: FakeModel, second: FakeModel, meter: MemoryMeter
) -> None:
    answer = ask(meter)

    assert (answer.text, answer.provider) == ("First.", "one")
    assert first.requests[0].body["model"] == "m1"
    assert first.requests[0].headers["authorization"] == "Bearer key-1"
    assert second.requests == []
    assert meter.calls[0].provider == "one"


FAILURES: dict[str, tuple[Answer, str]] = {
    "overloaded": (fakes.error(503), "released"),
    "slow down for long": (fakes.error(429, Retry_After="60"), "released"),
    "connection reset": (fakes.reset(), "presumed"),
    "html with 200": (fakes.html(), "presumed"),
    "bad key": (fakes.error(401), "released"),
    "unknown model": (fakes.error(404), "released"),
    "prompt too long": (fakes.error(413), "released"),
}


@pytest.mark.parametrize(("answer", "charge"), FAILURES.values(), ids=FAILURES.keys())
def test_the_next_one_is_asked_when_one_gives_no_answer(
    first: FakeModel,
    second: FakeModel,
    meter: MemoryMeter,
    answer: Answer,
    charge: str,
) -> None:
    first.default = answer

    given = ask(meter)

    assert (given.text, given.provider) == ("Second.", "two")
    assert second.requests[0].body["model"] == "m2"
    assert second.requests[0].headers["authorization"] == "Bearer key-2"
    assert set(meter.outcomes[:-1]) == {charge}
    assert meter.outcomes[-1] == "settled"


ANSWERS: dict[str, tuple[Answer, type[ModelError]]] = {
    "refusal": (fakes.completion("", refusal="No."), ModelRefusedError),
    "cut off": (fakes.completion("x", finish_reason="length"), ModelTruncatedError),
    "empty": (fakes.completion(""), ModelAnswerError),
}


@pytest.mark.parametrize(("answer", "error"), ANSWERS.values(), ids=ANSWERS.keys())
def test_an_answer_that_cannot_be_used_is_one(
    first: FakeModel, second: FakeModel, answer: Answer, error: type[ModelError]
) -> None:
    first.will(answer)

    with pytest.raises(error):
        ask()

    assert second.requests == []


def test_a_hang_leaves_time_for_the_next(
    first: FakeModel, second: FakeModel, meter: MemoryMeter
) -> None:
    first.default = fakes.hang()

    assert ask(meter, timeout_s=6.0).text == "Second."
    assert meter.outcomes == ["presumed", "settled"]


def test_a_ladder_that_takes_its_whole_share_ends_there(
    first: FakeModel, meter: MemoryMeter
) -> None:
    refusal = fakes.slow(1.6, fakes.error(400))
    first.unsupported = dict.fromkeys(("json_schema", "json_object"), refusal)

    answer = ask(meter, timeout_s=4.0, json_schema=SCHEMA)

    assert answer.provider == "two"
    assert meter.outcomes[-1] == "settled"
    assert "held" not in meter.outcomes


def test_each_has_a_limit_of_its_own(
    first: FakeModel, entries: list[dict[str, Any]]
) -> None:
    entries[:] = [entries[0] | {"timeout_s": 0.3}]
    first.default = fakes.hang()

    with pytest.raises(ModelUnavailableError, match=r"within 0\.3 s"):
        ask()


def test_a_provider_without_a_price_is_passed_over_and_logged(
    entries: list[dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    entries[0]["base_url"] = "https://models.example.org/v1"

    assert ask().provider == "two"
    assert [each.levelno for each in caplog.records] == [logging.ERROR]
    assert "one" in caplog.text


def test_a_bad_key_is_an_error_in_the_log_without_the_key(
    first: FakeModel, caplog: pytest.LogCaptureFixture
) -> None:
    first.default = fakes.error(401, "key-1 is wrong")

    ask()

    assert logging.ERROR in [each.levelno for each in caplog.records]
    assert "key-1" not in caplog.text


TELLING: dict[str, tuple[Answer, Answer, type[ModelError]]] = {
    "both for good": (fakes.error(401), fakes.error(413), ModelMisconfiguredError),
    "the first passes": (fakes.error(503), fakes.error(401), ModelUnavailableError),
    "the second passes": (fakes.error(401), fakes.error(503), ModelUnavailableError),
}


@pytest.mark.parametrize(
    ("one", "two", "error"), TELLING.values(), ids=list(TELLING.keys())
)
def test_what_passes_is_told_and_else_the_preferred_ones_failure(
    first: FakeModel,
    second: FakeModel,
    one: Answer,
    two: Answer,
    error: type[ModelError],
) -> None:
    first.default, second.default = one, two

    with pytest.raises(ModelError) as caught:
        ask()

    assert type(caught.value) is error


def test_all_unpriced_is_told(entries: list[dict[str, Any]]) -> None:
    for entry in entries:
        entry["base_url"] = "https://models.example.org/v1"

    with pytest.raises(UnpricedModelError):
        ask()


@pytest.mark.parametrize("error", [BudgetBusyError, BudgetExceededError])
def test_a_refused_reservation_goes_through_at_once(
    first: FakeModel, second: FakeModel, error: type[OctoLLMError]
) -> None:
    class PoorMeter(MemoryMeter):
        def reserve(self, call: Any) -> Any:
            raise error

    with pytest.raises(error):
        ask(PoorMeter())

    assert first.requests == second.requests == []
    assert row("one") is None


def test_the_deadline_goes_through(first: FakeModel, second: FakeModel) -> None:
    first.default = second.default = fakes.hang()

    with pytest.raises(DeadlineExceededError):
        ask(timeout_s=0.6)


def test_a_task_that_is_bound_to_a_model_asks_no_other(
    first: FakeModel, second: FakeModel, meter: MemoryMeter
) -> None:
    services = dataclasses.replace(make_services(meter), model="m2")

    answer = complete(
        PROMPT, purpose="judging", services=services, max_output_tokens=200
    )

    assert answer.text == "Second."
    assert first.requests == []
    assert [call.model for call in meter.calls] == ["m2"]


def test_a_model_that_is_no_longer_set_is_an_error(meter: MemoryMeter) -> None:
    services = dataclasses.replace(make_services(meter), model="m9")

    with pytest.raises(ModelMisconfiguredError):
        complete(PROMPT, purpose="judging", services=services, max_output_tokens=200)


def test_a_resumed_attempt_gets_the_answer_whoever_gave_it(
    first: FakeModel, second: FakeModel, meter: MemoryMeter
) -> None:
    first.will(*[fakes.error(503)] * 3)
    ask(meter)
    meter.next_attempt()

    again = ask(meter)

    assert (again.text, again.provider) == ("Second.", "two")
    assert len(first.requests) == 3


def test_each_is_asked_as_its_entry_says(
    first: FakeModel, entries: list[dict[str, Any]]
) -> None:
    entries[0] |= {"max_output_field": "max_completion_tokens", "temperature": False}

    ask(max_output_tokens=123)

    body = first.requests[0].body
    assert body["max_completion_tokens"] == 123
    assert not {"max_tokens", "temperature"} & body.keys()


class TestBreakers:
    @pytest.mark.parametrize(
        "answer",
        [fakes.error(500), fakes.reset(), fakes.html()],
        ids=["500", "reset", "html"],
    )
    def test_each_failure_is_counted(self, first: FakeModel, answer: Answer) -> None:
        first.default = answer

        ask()

        counted = row("one")
        assert counted is not None
        assert counted.failures == len(first.requests)

    def test_an_open_one_is_passed_over(
        self, first: FakeModel, second: FakeModel
    ) -> None:
        first.default = fakes.html()
        for _ in range(breakers.FAILURES):
            ask()
        asked = len(first.requests)

        assert ask().provider == "two"
        assert len(first.requests) == asked

    def test_all_open_is_an_error_that_says_when_to_come_again(self) -> None:
        for name in ("llm:one", "llm:two"):
            for _ in range(breakers.FAILURES):
                breakers.failed(name)

        with pytest.raises(ModelUnavailableError) as caught:
            ask()

        assert caught.value.is_transient
        assert caught.value.retry_after_s is not None
        assert 0 < caught.value.retry_after_s <= OPEN_S * 1.1

    @pytest.mark.parametrize(
        "answer",
        [fakes.error(401), fakes.error(413), fakes.error(429, Retry_After="60")],
        ids=["401", "413", "429"],
    )
    def test_refusals_of_a_request_do_not_count(
        self, first: FakeModel, answer: Answer
    ) -> None:
        first.default = answer

        for _ in range(2):
            ask()

        noted = row("one")
        assert noted is None or noted.failures == 0

    def test_a_time_out_that_was_not_fair_tells_nothing(self, first: FakeModel) -> None:
        breakers.failed("llm:one")
        first.default = fakes.hang()

        ask(timeout_s=6.0)

        noted = row("one")
        assert noted is not None
        assert noted.failures == 1

    def test_a_time_out_of_its_own_counts(
        self, first: FakeModel, entries: list[dict[str, Any]]
    ) -> None:
        entries[0]["timeout_s"] = 0.2
        first.default = fakes.hang()

        ask()

        noted = row("one")
        assert noted is not None
        assert noted.failures == len(first.requests)

    def test_a_wish_to_be_left_alone_holds_for_everybody(
        self, first: FakeModel
    ) -> None:
        first.default = fakes.error(429, Retry_After="60")
        ask()

        assert ask().provider == "two"
        assert len(first.requests) == 1
        assert breakers.ask("llm:one").wait_s > 50

    def test_a_429_without_a_wish_is_told_to_everybody_too(
        self, first: FakeModel
    ) -> None:
        first.will(*[fakes.error(429)] * 3)

        ask()

        assert row("one") is not None

    def test_a_probe_that_is_refused_its_request_closes_the_breaker(
        self, first: FakeModel
    ) -> None:
        for _ in range(breakers.FAILURES):
            breakers.failed("llm:one")
        Breaker.objects.update(open_until="2000-01-01T00:00:00Z")
        breakers._cache.forget()
        first.default = fakes.error(413)

        ask()

        probed = row("one")
        assert probed is not None
        assert probed.state == Breaker.State.CLOSED

    @pytest.mark.parametrize("obstacle", ["budget", "limit"])
    def test_a_probe_that_is_never_sent_is_left_to_the_next_caller(
        self, obstacle: str, first: FakeModel, entries: list[dict[str, Any]]
    ) -> None:
        entries[0]["tpm"] = 10
        ask()
        for _ in range(breakers.FAILURES):
            breakers.failed("llm:one")
        Breaker.objects.update(open_until="2000-01-01T00:00:00Z")
        breakers._cache.forget()

        if obstacle == "limit":
            ask()
        else:
            entries[0]["tpm"] = 0
            with pytest.raises(BudgetExceededError):
                ask(MemoryMeter(max_tokens=1))

        assert len(first.requests) == 1
        assert breakers.ask("llm:one").is_probe

    def test_a_probe_that_succeeds_closes_the_breaker(self) -> None:
        for _ in range(breakers.FAILURES):
            breakers.failed("llm:one")
        Breaker.objects.update(open_until="2000-01-01T00:00:00Z")
        breakers._cache.forget()

        assert ask().provider == "one"
        probed = row("one")
        assert probed is not None
        assert probed.state == Breaker.State.CLOSED


class TestLimits:
    def test_a_spent_minute_sends_to_the_next(
        self, first: FakeModel, entries: list[dict[str, Any]]
    ) -> None:
        entries[0]["rpm"] = 1

        assert [ask().provider, ask().provider] == ["one", "two"]

    def test_tokens_are_limited_by_their_bound(
        self, entries: list[dict[str, Any]]
    ) -> None:
        entries[0]["tpm"] = 300
        rates.take("llm:one:tokens", 250, per_minute=300)

        assert ask().provider == "two"

    def test_what_was_not_used_is_given_back(
        self, first: FakeModel, entries: list[dict[str, Any]]
    ) -> None:
        entries[0]["tpm"] = 300
        usage = {"prompt_tokens": 5, "completion_tokens": 1}
        first.default = fakes.completion("First.", usage=usage)

        assert [ask().provider for _ in range(3)] == ["one"] * 3

    @pytest.mark.parametrize("error", [BudgetBusyError, ModelMisconfiguredError])
    def test_what_was_never_worked_on_is_given_back(
        self,
        first: FakeModel,
        entries: list[dict[str, Any]],
        error: type[OctoLLMError],
    ) -> None:
        class BusyMeter(MemoryMeter):
            def reserve(self, call: Any) -> Any:
                raise BudgetBusyError

        entries[:] = [entries[0] | {"tpm": 300}]
        first.default = fakes.error(401)
        meter = BusyMeter() if error is BudgetBusyError else MemoryMeter()
        for _ in range(3):
            with pytest.raises(error):
                ask(meter)

    def test_the_last_one_is_waited_for(self, entries: list[dict[str, Any]]) -> None:
        entries[:] = [entries[0] | {"rpm": 60}]
        rates.take("llm:one:requests", 60, per_minute=60)

        assert ask().text == "First."

    def test_a_wait_that_is_too_long_is_an_error_that_says_how_long(
        self, first: FakeModel, entries: list[dict[str, Any]]
    ) -> None:
        entries[:] = [entries[0] | {"rpm": 1}]
        ask()

        with pytest.raises(ModelUnavailableError) as caught:
            ask()

        assert caught.value.retry_after_s is not None
        assert 50 < caught.value.retry_after_s <= 60
        assert len(first.requests) == 1

    def test_a_cancel_ends_the_wait(self, entries: list[dict[str, Any]]) -> None:
        entries[:] = [entries[0] | {"rpm": 6}]
        rates.take("llm:one:requests", 6, per_minute=6)
        services = make_services()
        canceller = threading.Timer(0.2, services.stop.cancel)
        canceller.start()

        with pytest.raises(CallCancelledError):
            complete(PROMPT, purpose="coding", services=services, max_output_tokens=9)
        canceller.join()


def test_the_single_form_has_a_breaker_under_its_own_name(
    settings: Any, first: FakeModel
) -> None:
    settings.OCTOLLM_LLM_PROVIDERS = []
    settings.OCTOLLM_LLM_BASE_URL = first.base_url
    settings.OCTOLLM_LLM_MODEL = "m"
    first.default = fakes.html()

    with pytest.raises(ModelAnswerError):
        ask()

    assert row(SINGLE) is not None
