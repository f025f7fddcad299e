"""What an arm elsewhere says that it used is in the books, once."""

from __future__ import annotations

from decimal import Decimal
from uuid import uuid4

import pytest

from arms.contract import Usage
from tasks_app.ledger import TaskMeter
from tasks_app.models import Charge, Step, Task, TaskEvent
from tests.builders import claim_of, make_planned_task, make_step
from tests.calls import books, sums

pytestmark = pytest.mark.django_db
USED = Usage(cost_usd=Decimal("0.002"), input_tokens=30, output_tokens=12, model="m")


def claimed(*, nano: int = 0, tokens: int = 0) -> tuple[Task, TaskMeter]:
    task = make_planned_task(
        make_step("a", envelope_nano=nano, envelope_tokens=tokens),
        max_cost_usd=Decimal("0.01"),
    )
    return task, TaskMeter(claim_of(task, "a"))


def test_usage_is_spent_by_the_task():
    task, meter = claimed()

    meter.book_usage(uuid4(), USED, arm="billing", at="http://billing:8090")

    task.refresh_from_db()
    charge = Charge.objects.get()
    assert (task.spent_nano, task.spent_tokens) == (2_000_000, 42)
    assert (charge.state, charge.purpose, charge.price_source) == (
        "settled",
        "arm",
        "arm",
    )
    assert (charge.provider, charge.model) == ("http://billing:8090", "m")


def test_the_steps_envelope_covers_it_and_what_is_more_is_an_overrun():
    task, meter = claimed(nano=1_500_000, tokens=100)

    meter.book_usage(uuid4(), USED, arm="billing", at="x")

    task.refresh_from_db()
    step = Step.objects.get(task=task, step_id="a")
    assert (step.envelope_nano, step.envelope_tokens) == (0, 58)
    assert books(task) == sums(task)
    assert (task.held_nano, task.held_tokens) == (0, 58)
    assert Charge.objects.get().held_nano == 1_500_000
    overrun = TaskEvent.objects.get(task=task, type="charge.overrun")
    assert overrun.data["nano"] == 500_000
    assert overrun.data["arm"] == step.arm


def test_reply_that_comes_from_the_store_is_booked_once():
    task, meter = claimed()
    request_id = uuid4()

    for _ in range(2):
        meter.book_usage(request_id, USED, arm="billing", at="x")

    assert books(task) == sums(task) == (2_000_000, 0, 42, 0)
    assert Charge.objects.count() == 1


def test_who_used_nothing_has_no_charge():
    _, meter = claimed()

    meter.book_usage(uuid4(), Usage(), arm="billing", at="x")

    assert not Charge.objects.exists()


def test_absurd_figures_are_cut_and_never_refused():
    task, meter = claimed()
    absurd = Usage(cost_usd=Decimal("1e15"), input_tokens=10**15)

    meter.book_usage(uuid4(), absurd, arm="billing", at="x")

    task.refresh_from_db()
    assert task.spent_nano == 10**15
    assert task.spent_tokens == 100_000_000
