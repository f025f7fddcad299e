"""An answer is asked for as long as the budget allows, rather than not at all."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from arms.contract import ModelCall
from octollm.errors import BudgetBusyError, BudgetExceededError, OctoLLMError
from tests import fakes
from tests.fakes import FakeModel
from tests.ledgers import MemoryMeter
from tests.models import ask


@dataclass
class TightMeter(MemoryMeter):
    """A ledger with little left: so many tokens, so many dollars."""

    room_tokens: int = 1_000_000
    room_usd: Decimal = Decimal(1)
    refusal: type[BudgetExceededError] = BudgetExceededError

    def reserve(self, call: ModelCall) -> UUID:
        cost = (
            call.price.input_per_million * call.input_tokens
            + call.price.output_per_million * call.output_tokens
        ) / 1_000_000
        tokens = call.input_tokens + call.output_tokens
        if tokens > self.room_tokens or cost > self.room_usd:
            raise self.refusal(room_tokens=self.room_tokens, room_usd=self.room_usd)
        return super().reserve(call)


def bound(model: FakeModel) -> int:
    """Return how many tokens the question of the tests is held for."""
    meter = MemoryMeter()
    ask(meter)
    model.requests.clear()
    return meter.calls[0].input_tokens


def test_the_answer_is_cut_to_the_tokens_that_are_left(model: FakeModel) -> None:
    meter = TightMeter(room_tokens=bound(model) + 120)

    ask(meter, purpose="analysis", max_output_tokens=400)

    assert [request.body["max_tokens"] for request in model.requests] == [120]
    assert meter.calls[0].output_tokens == 120


def test_the_answer_is_cut_to_the_dollars_that_are_left(
    model: FakeModel, settings: Any
) -> None:
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal(2)
    settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal(10)
    room = (2 * bound(model) + Decimal("1509.99")) / 1_000_000

    ask(TightMeter(room_usd=room), purpose="analysis", max_output_tokens=400)

    assert model.requests[0].body["max_tokens"] == 150


@pytest.mark.parametrize(
    ("purpose", "left", "error"),
    [
        ("analysis", 99, BudgetExceededError),
        ("analysis", -5, BudgetExceededError),
        # A plan is asked for with a smaller prompt first.
        ("planning", 300, BudgetExceededError),
        ("analysis", 300, BudgetBusyError),
    ],
    ids=["less than a quarter", "not even the question", "a plan", "others hold it"],
)
def test_what_is_not_to_be_cut_is_refused(
    model: FakeModel, purpose: str, left: int, error: type[BudgetExceededError]
) -> None:
    meter = TightMeter(room_tokens=bound(model) + left, refusal=error)

    with pytest.raises(OctoLLMError) as caught:
        ask(meter, purpose=purpose, max_output_tokens=400)

    assert type(caught.value) is error
    assert model.requests == []


def test_a_resumed_attempt_finds_the_answer_though_it_was_cut(
    model: FakeModel,
) -> None:
    meter = TightMeter(room_tokens=bound(model) + 200)
    model.will(fakes.completion("Short."))
    ask(meter, purpose="analysis", max_output_tokens=400)
    meter.next_attempt()

    again = ask(meter, purpose="analysis", max_output_tokens=400)

    assert (again.text, again.is_replayed) == ("Short.", True)


def test_the_next_form_is_asked_for_with_the_same_length(model: FakeModel) -> None:
    schema = {"type": "object", "properties": {}, "additionalProperties": False}
    meter = TightMeter(room_tokens=bound(model) + 300)
    model.unsupported["json_schema"] = fakes.error(400, "no such format")

    ask(meter, purpose="analysis", max_output_tokens=400, json_schema=schema)

    lengths = [request.body["max_tokens"] for request in model.requests]
    assert len(lengths) == 2
    assert all(100 <= length < 300 for length in lengths)
    assert [call.rung for call in meter.calls] == ["json_schema", "json_object"]
