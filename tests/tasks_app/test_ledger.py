"""The ledger: what may be held, what is booked, and that nothing is lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from decimal import Decimal

import pytest
from django.db import connections
from prometheus_client import REGISTRY

from arms.contract import CallPrice, ModelUsage
from arms.pricing import MAX_PRICE
from octollm.errors import BudgetBusyError, BudgetExceededError, CallCancelledError
from tasks_app.amounts import cost_nano
from tasks_app.ledger import MAX_TOKENS, TaskMeter, presume_lost
from tasks_app.models import Charge, Step, Task
from tasks_app.turn import task_turn
from tests.builders import (
    claim_of,
    finish_step,
    make_planned_task,
    make_step,
    make_task,
)
from tests.calls import PRICE, books, call, claimed, lose, usage

pytestmark = pytest.mark.django_db

CACHING = replace(PRICE, cached_per_million=Decimal("0.5"))
CHEAPER = CallPrice(
    input_per_million=Decimal("1"),
    output_per_million=Decimal("5"),
    cached_per_million=Decimal("0.25"),
    source="a lower tier",
    version="7",
)


def test_price_is_exact_in_nano_dollars_and_rounded_up():
    tiny = CallPrice(
        input_per_million=Decimal("0.0005"), output_per_million=Decimal(0), source="t"
    )

    assert cost_nano(PRICE, input_tokens=1_000_000, output_tokens=0) == 2_000_000_000
    assert cost_nano(PRICE, input_tokens=1, output_tokens=1) == 12_000
    assert cost_nano(tiny, input_tokens=1, output_tokens=0) == 1


def test_cached_input_has_its_own_price():
    tokens = {"input_tokens": 100, "output_tokens": 10, "cached_tokens": 60}

    assert cost_nano(CACHING, **tokens) == 40 * 2_000 + 60 * 500 + 10 * 10_000
    assert cost_nano(PRICE, **tokens) == 100 * 2_000 + 10 * 10_000


def test_reservation_holds_the_worst_case():
    task, _, meter = claimed()

    meter.reserve(call())

    assert books(task) == (0, 7_000_000, 0, 1500)


def test_settlement_books_what_was_used_and_frees_the_rest():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())

    meter.settle(charge_id, usage(), "reply")

    assert books(task) == (700_000, 0, 150, 0)
    assert Charge.objects.get().state == "settled"


def test_no_saving_by_the_cache_is_counted_on():
    dearer = replace(PRICE, cached_per_million=Decimal("3"))
    for price, held_nano in ((CACHING, 7_000_000), (dearer, 8_000_000)):
        task, _, meter = claimed()

        meter.reserve(call(price=price))

        assert books(task)[1] == held_nano


def test_settlement_books_cached_input_at_its_price():
    task, _, meter = claimed()
    charge_id = meter.reserve(call(price=CACHING))

    meter.settle(charge_id, usage(cached_tokens=60), "reply")

    assert books(task) == (610_000, 0, 150, 0)
    assert Charge.objects.get().cached_tokens == 60


def test_settlement_takes_the_price_of_the_usage_and_keeps_it():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())

    meter.settle(charge_id, usage(cached_tokens=60, price=CHEAPER), "reply")

    assert books(task) == (305_000, 0, 150, 0)
    charge = Charge.objects.get()
    assert (charge.price_input, charge.price_output) == (Decimal(1), Decimal(5))
    assert charge.price_cached == Decimal("0.25")
    assert (charge.price_source, charge.price_version) == ("a lower tier", "7")


def test_charge_says_who_was_asked_for_what_and_how():
    _, _, meter = claimed()

    meter.reserve(call(provider="home", rung="json_schema", price=CACHING))

    charge = Charge.objects.get()
    assert (charge.provider, charge.model, charge.purpose) == ("home", "m", "planning")
    assert (charge.rung, charge.price_cached) == ("json_schema", Decimal("0.5"))


@pytest.mark.parametrize(
    "absurd",
    [
        usage(-5, 50),
        usage(100, -1),
        usage(10**30, 50),
        usage(100, 10**30),
        usage(cached_tokens=-1),
    ],
)
def test_absurd_usage_is_booked_at_the_worst_case(absurd: ModelUsage):
    task, _, meter = claimed()
    charge_id = meter.reserve(call())

    meter.settle(charge_id, absurd, "reply")

    assert books(task) == (7_000_000, 0, 1500, 0)
    charge = Charge.objects.get()
    assert (charge.state, charge.is_estimated) == ("settled", True)


def test_more_cached_than_sent_saves_no_more_than_was_sent():
    task, _, meter = claimed()
    charge_id = meter.reserve(call(price=CACHING))

    meter.settle(charge_id, usage(cached_tokens=5000), "reply")

    assert books(task)[0] == 100 * 500 + 50 * 10_000
    assert Charge.objects.get().cached_tokens == 100


def test_dearest_call_there_can_be_fits_the_columns():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    dearest = replace(
        PRICE,
        input_per_million=Decimal(MAX_PRICE),
        output_per_million=Decimal(MAX_PRICE),
    )

    meter.settle(charge_id, usage(MAX_TOKENS, MAX_TOKENS, price=dearest), "reply")

    assert books(task)[0] == 2 * MAX_TOKENS * 10**9


def test_answered_calls_are_timed_by_provider_model_and_purpose():
    def count() -> float:
        labels = {"provider": "home", "model": "m", "purpose": "planning"}
        name = "octollm_llm_duration_seconds_count"
        return REGISTRY.get_sample_value(name, labels) or 0.0

    before = count()
    _, _, meter = claimed()
    meter.settle(meter.reserve(call(provider="home")), usage(latency_s=2.5), "reply")
    meter.presume(meter.reserve(call(provider="home")))

    assert count() == before + 1


def test_lost_reply_is_booked_at_the_worst_case():
    task, _, meter = claimed()

    meter.presume(meter.reserve(call()))

    assert books(task) == (7_000_000, 0, 1500, 0)


def test_true_figure_corrects_a_presumed_one():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.presume(charge_id)

    meter.settle(charge_id, usage(), "reply")

    assert books(task) == (700_000, 0, 150, 0)


def test_call_that_never_left_costs_nothing():
    task, _, meter = claimed()

    meter.release(meter.reserve(call()))

    assert books(task) == (0, 0, 0, 0)


def test_more_than_the_cap_is_refused_for_good():
    task, _, meter = claimed(max_cost_usd=Decimal("0.005"))

    with pytest.raises(BudgetExceededError) as caught:
        meter.reserve(call())

    assert (caught.value.limit, caught.value.is_transient) == ("cost", False)
    assert books(task) == (0, 0, 0, 0)


def test_more_tokens_than_the_cap_are_refused_for_good():
    _, _, meter = claimed(max_tokens=1000)

    with pytest.raises(BudgetExceededError) as caught:
        meter.reserve(call())

    assert caught.value.limit == "tokens"


def test_what_others_hold_is_refused_for_now():
    _, _, meter = claimed(max_cost_usd=Decimal("0.010"))
    meter.reserve(call())

    with pytest.raises(BudgetBusyError):
        meter.reserve(call(request_hash="other"))


def test_overrun_is_booked_and_told():
    task, _, meter = claimed(max_cost_usd=Decimal("0.007"))
    charge_id = meter.reserve(call())

    meter.settle(charge_id, usage(5000, 5000), "reply")

    assert books(task) == (60_000_000, 0, 10_000, 0)
    assert task.events.filter(type="charge.overrun").count() == 1


def test_envelope_is_drawn_before_what_is_free():
    task = make_planned_task(
        make_step("a", envelope_nano=5_000_000, envelope_tokens=1000),
        max_cost_usd=Decimal("0.008"),
    )
    meter = TaskMeter(claim_of(task, "a"))

    meter.reserve(call())

    assert books(task) == (0, 7_000_000, 0, 1500)
    assert Step.objects.get(task=task, step_id="a").envelope_nano == 0


def test_envelope_of_another_step_cannot_be_taken():
    task = make_planned_task(
        make_step("a"),
        make_step("b", envelope_nano=5_000_000),
        max_cost_usd=Decimal("0.008"),
    )

    with pytest.raises(BudgetBusyError):
        TaskMeter(claim_of(task, "a")).reserve(call())


def test_lost_claim_reserves_nothing():
    _, claim, meter = claimed()
    lose(claim)

    with pytest.raises(CallCancelledError):
        meter.reserve(call())


def test_settlement_is_booked_though_the_claim_was_lost():
    task, claim, meter = claimed()
    charge_id = meter.reserve(call())
    lose(claim)

    meter.settle(charge_id, usage(), "reply")

    assert books(task) == (700_000, 0, 150, 0)


def test_settlement_is_booked_though_the_task_has_ended():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.CANCELLED, result={})

    meter.settle(charge_id, usage(), "reply")

    assert books(task) == (700_000, 0, 150, 0)


def test_charge_of_a_dead_worker_is_presumed():
    task, claim, meter = claimed()
    meter.reserve(call())
    lose(claim)
    with task_turn(task.pk) as turn:
        assert presume_lost(turn) == 1

    assert books(task) == (7_000_000, 0, 1500, 0)


def test_end_of_a_step_leaves_its_running_charge_held():
    task = make_planned_task(make_step("a", envelope_nano=7_000_000))
    claim = claim_of(task, "a")
    TaskMeter(claim).reserve(call())
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.FAILED, result={})

    assert books(task)[1] == 7_000_000


def test_finished_plan_step_holds_nothing():
    task = make_task()
    finish_step(task, "plan")

    assert books(task) == (0, 0, 0, 0)


@pytest.mark.django_db(transaction=True)
def test_sixteen_writers_never_hold_more_than_the_cap():
    task, claim, _ = claimed(max_cost_usd=Decimal("0.05"), max_tokens=100_000)

    def reserve(number: int) -> int:
        try:
            TaskMeter(claim).reserve(call(request_hash=str(number)))
            return 1
        except BudgetBusyError:
            return 0
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        granted = sum(pool.map(reserve, range(16)))

    spent, held, _, _ = books(task)
    assert granted == 7
    assert spent + held == 49_000_000
    assert Charge.objects.filter(state="held").count() == 7
