"""What may become of a charge, in every order; nothing is ever booked twice."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connections
from prometheus_client import REGISTRY

from octollm.errors import IllegalStateError
from tasks_app import chain
from tasks_app.booking import CHANGES
from tasks_app.ledger import TaskMeter, correct_charge
from tasks_app.models import Charge, Task, TaskEvent
from tasks_app.turn import task_turn
from tests.builders import claim_of, make_planned_task, make_step
from tests.calls import books, call, claimed, sums, usage

pytestmark = pytest.mark.django_db

# What each act books: nano-dollars and tokens.
BOOKED = {"settle": (700_000, 150), "presume": (7_000_000, 1500), "release": (0, 0)}
CORRECTED_NANO = 123_000_000
ACTS: dict[str, Callable[[TaskMeter, UUID], Any]] = {
    "settle": lambda meter, charge_id: meter.settle(charge_id, usage(), "reply"),
    "presume": lambda meter, charge_id: meter.presume(charge_id),
    "release": lambda meter, charge_id: meter.release(charge_id),
    "correct": lambda meter, charge_id: correct_charge(
        charge_id, cost_usd=Decimal("0.123"), reason="The price list was old."
    ),
}


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"octollm_{name}_total", labels) or 0.0


def kinds(task: Task) -> list[str]:
    """Return the kinds of events about charges, in order."""
    found = TaskEvent.objects.filter(task=task, type__startswith="charge.")
    return list(found.values_list("type", flat=True))


@pytest.mark.parametrize(
    "acts",
    [acts for n in (1, 2, 3) for acts in itertools.product(ACTS, repeat=n)],
    ids="-".join,
)
def test_whatever_comes_in_whatever_order_is_booked_at_most_once(
    acts: tuple[str, ...],
):
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    state, nano, tokens = "held", 0, 0

    for act in acts:
        late = counted("late_bookings", act=act, state=state)
        is_refused = (act, state) == ("correct", "held")
        try:
            ACTS[act](meter, charge_id)
        except IllegalStateError:
            assert is_refused
        if (act, state) in CHANGES:
            state = CHANGES[act, state]  # type: ignore[index]  # a name of an act
            nano, tokens = BOOKED.get(act, (CORRECTED_NANO, tokens))
        elif not is_refused:
            assert counted("late_bookings", act=act, state=state) == late + 1
        held = (7_000_000, 1500) if state == "held" else (0, 0)
        assert Charge.objects.get().state == state
        assert books(task) == sums(task) == (nano, held[0], tokens, held[1])

    events = TaskEvent.objects.filter(task=task)
    assert chain.first_break(task.pk, events, head=task.event_head) is None


def test_presumed_charge_whose_true_figure_comes_is_corrected_once():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.presume(charge_id)

    meter.settle(charge_id, usage(), "reply")
    meter.settle(charge_id, usage(5, 5), "another reply")

    charge = Charge.objects.get()
    assert (charge.state, charge.reply) == ("corrected", "reply")
    assert books(task) == (700_000, 0, 150, 0)
    assert kinds(task) == ["charge.held", "charge.presumed", "charge.corrected"]
    corrected = task.events.get(type="charge.corrected").data
    assert (corrected["was_nano"], corrected["nano"]) == (7_000_000, 700_000)
    assert (corrected["was_tokens"], corrected["tokens"]) == (1500, 150)


def test_presumed_charge_that_never_left_after_all_is_corrected_to_nothing():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.presume(charge_id)

    meter.release(charge_id)

    assert Charge.objects.get().state == "corrected"
    assert books(task) == (0, 0, 0, 0)


def test_released_charge_that_was_answered_after_all_is_booked():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.release(charge_id)

    meter.settle(charge_id, usage(), "reply")

    assert Charge.objects.get().state == "corrected"
    assert books(task) == (700_000, 0, 150, 0)


@pytest.mark.django_db(transaction=True)
def test_two_threads_at_once_book_what_one_after_the_other_would():
    pairs = list(itertools.product(("settle", "presume", "release"), repeat=2))
    tasks = []

    def act(meter: TaskMeter, charge_id: UUID, name: str) -> None:
        try:
            ACTS[name](meter, charge_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(6) as pool:
        for pair in pairs:
            task, _, meter = claimed()
            charge_id = meter.reserve(call())
            tasks.append(task)
            for name in pair:
                pool.submit(act, meter, charge_id, name)

    for task, pair in zip(tasks, pairs, strict=True):
        nano, held, tokens, _ = books(task)
        assert books(task) == sums(task)
        assert (held, (nano, tokens)) in {
            (0, outcome(pair)),
            (0, outcome(pair[::-1])),
        }, pair
        # One change, or a first one and its correction.
        assert 2 <= len(kinds(task)) <= 3


def outcome(acts: tuple[str, ...]) -> tuple[int, int]:
    """Return the nano-dollars and tokens that acts in this order leave."""
    state, booked = "held", (0, 0)
    for act in acts:
        if (act, state) in CHANGES:
            state = CHANGES[act, state]  # type: ignore[index]  # a name of an act
            booked = BOOKED[act]
    return booked


def test_operator_corrects_a_price_on_an_ended_task():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.settle(charge_id, usage(), "reply")
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.CANCELLED, result={})

    correct_charge(charge_id, cost_usd=Decimal("0.0000005"), reason="  A discount. ")

    assert books(task) == (500, 0, 150, 0)
    assert task.status == "cancelled"
    assert Charge.objects.get().reply == "reply"
    assert task.events.get(type="charge.corrected").data == {
        "charge_id": str(charge_id),
        "nano": 500,
        "tokens": 150,
        "was_nano": 700_000,
        "was_tokens": 150,
        "reason": "A discount.",
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": " "},
        {"reason": "x" * 201},
        {"reason": "nul \0"},
        {"cost_usd": Decimal("-1")},
        {"cost_usd": Decimal("NaN")},
        {"cost_usd": Decimal("Infinity")},
        {"cost_usd": Decimal(1_000_001)},
    ],
    ids=repr,
)
def test_correction_that_makes_no_sense_changes_nothing(wrong: dict[str, Any]):
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.settle(charge_id, usage(), "reply")

    with pytest.raises(ValueError, match="must be"):
        correct_charge(charge_id, **{"cost_usd": Decimal(1), "reason": "x", **wrong})

    assert books(task) == (700_000, 0, 150, 0)


def test_correction_of_no_charge_says_so():
    with pytest.raises(Charge.DoesNotExist):
        correct_charge(uuid4(), cost_usd=Decimal(1), reason="x")


def test_who_overran_is_named_and_counted():
    task = make_planned_task(make_step("a"))
    meter = TaskMeter(claim_of(task, "a"))
    before = counted("llm_overruns", arm="gate", model="m")
    charge_id = meter.reserve(call(provider="home"))

    meter.settle(charge_id, usage(1400, 150), "reply")

    assert task.events.get(type="charge.overrun").data == {
        "charge_id": str(charge_id),
        "step_id": "a",
        "arm": "gate",
        "provider": "home",
        "model": "m",
        # 4.3 of 7 million nano-dollars were used, but 1,550 of 1,500 tokens.
        "nano": 0,
        "tokens": 50,
    }
    assert counted("llm_overruns", arm="gate", model="m") == before + 1


def test_correction_upwards_is_an_overrun_too():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.settle(charge_id, usage(), "reply")

    correct_charge(charge_id, cost_usd=Decimal("0.008"), reason="The list was wrong.")

    assert task.events.get(type="charge.overrun").data["nano"] == 1_000_000
