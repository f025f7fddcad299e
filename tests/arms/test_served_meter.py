"""The meter of a served arm: within the request's budget, and what it cost goes back."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from arms.contract import CallPrice, ModelCall, ModelUsage, StepBudget
from arms.served.meter import LocalMeter
from octollm.errors import BudgetBusyError, BudgetExceededError

PRICE = CallPrice(
    input_per_million=Decimal(2), output_per_million=Decimal(10), source="test"
)


def meter_of(*, usd: str = "1", tokens: int = 10_000) -> LocalMeter:
    now = datetime.now(UTC)
    return LocalMeter(
        StepBudget(max_cost_usd=Decimal(usd), max_tokens=tokens, deadline_at=now)
    )


def call(input_tokens: int = 1_000, output_tokens: int = 1_000) -> ModelCall:
    return ModelCall(
        purpose="judging",
        model="m",
        request_hash="h",
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        price=PRICE,
    )


def used(input_tokens: int, output_tokens: int, **others: object) -> ModelUsage:
    return ModelUsage(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        **others,  # type: ignore[arg-type]  # given as words
    )


def test_without_a_call_nothing_was_used() -> None:
    assert meter_of().usage() is None


def test_what_was_used_counts_and_not_what_was_held() -> None:
    meter = meter_of()
    meter.settle(meter.reserve(call()), used(500, 200), "reply")
    meter.release(meter.reserve(call()))

    usage = meter.usage()

    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (500, 200)
    assert (usage.cost_usd, usage.model) == (Decimal("0.003"), "m")


def test_a_lost_reply_counts_as_the_worst() -> None:
    meter = meter_of()
    meter.presume(meter.reserve(call()))

    usage = meter.usage()

    assert usage is not None
    assert (usage.cost_usd, usage.output_tokens) == (Decimal("0.012"), 1_000)


@pytest.mark.parametrize(
    ("budget", "limit"),
    [({"usd": "0.011"}, "cost"), ({"tokens": 1_999}, "tokens")],
)
def test_a_call_beyond_the_budget_is_refused(
    budget: dict[str, object], limit: str
) -> None:
    meter = meter_of(**budget)  # type: ignore[arg-type]  # given as words

    with pytest.raises(BudgetExceededError) as refused:
        meter.reserve(call())

    assert not isinstance(refused.value, BudgetBusyError)
    assert refused.value.limit == limit
    assert meter.usage() is None


def test_what_others_hold_is_busy_and_free_again_when_they_are_done() -> None:
    meter = meter_of(tokens=3_000)
    first = meter.reserve(call())

    with pytest.raises(BudgetBusyError) as busy:
        meter.reserve(call())
    assert busy.value.room_tokens == 1_000

    meter.settle(first, used(100, 100), "reply")
    meter.reserve(call())


def test_what_was_spent_stays_spent() -> None:
    meter = meter_of(tokens=3_000)
    meter.settle(meter.reserve(call()), used(1_000, 1_000), "reply")

    with pytest.raises(BudgetExceededError) as refused:
        meter.reserve(call())

    assert not isinstance(refused.value, BudgetBusyError)
    assert refused.value.room_tokens == 1_000


def test_equal_calls_are_numbered() -> None:
    meter = meter_of()

    assert [meter.replay("h").nth, meter.replay("h").nth] == [0, 1]
    assert meter.replay("other").nth == 0
    assert meter.replay("h").reply is None
