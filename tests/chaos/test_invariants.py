"""Each invariant holds of what the pipeline leaves, and notices what breaks it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now

from octollm.ids import new_id
from tasks_app.models import Attempt, Charge, Step, Task, TaskEvent, TaskResult, Verdict
from tasks_app.pipeline import run_step
from tests.builders import claim_of, make_planned_task, make_step
from tests.chaos.invariants import calls_made_twice, check_all

pytestmark = pytest.mark.django_db

CHAIN = "every chain verifies"
UNAPPROVED = "no plan runs before its approval"


@pytest.fixture
def ended() -> Task:
    """Return a task of two steps that was judged by one criterion."""
    task = make_planned_task(
        make_step("a"),
        make_step("b", depends_on=("a",)),
        acceptance_criteria=["confidence at least 0.5"],
    )
    for step_id in ("a", "b", "judge"):
        run_step(claim_of(task, step_id))
    task.refresh_from_db()
    assert task.is_terminal
    return task


def broken(task: Task) -> list[str]:
    """Return the names of the invariants that do not hold of a task."""
    return [finding.name for finding in check_all([task.pk]) if not finding.holds]


def add_charge(task: Task, **overrides: Any) -> Charge:
    """Store what a judge's call was charged, and book it."""
    fields: dict[str, Any] = {
        "task": task,
        "step": Step.objects.get(task=task, step_id="judge"),
        "attempt": 1,
        "purpose": "judging",
        "model": "m",
        "request_hash": "h",
        "state": Charge.State.SETTLED,
        "held_nano": 10,
        "held_tokens": 10,
        "settled_nano": 7,
        "input_tokens": 3,
        "output_tokens": 2,
        "price_input": Decimal(1),
        "price_output": Decimal(1),
        "price_source": "settings",
        "settled_at": Now(),
    }
    charge = Charge.objects.create(**(fields | overrides))
    if charge.state != Charge.State.HELD:
        Task.objects.filter(pk=task.pk).update(
            spent_nano=F("spent_nano") + charge.settled_nano,
            spent_tokens=F("spent_tokens") + charge.input_tokens + charge.output_tokens,
        )
    return charge


def test_all_hold_of_a_task_that_ended_in_order(ended: Task):
    add_charge(ended)

    assert broken(ended) == []
    idle = [finding.name for finding in check_all([ended.pk]) if not finding.checked]
    assert idle == [UNAPPROVED]


def test_task_that_is_gone_is_lost():
    assert [f.name for f in check_all([new_id()]) if not f.holds] == [
        "no accepted task is lost"
    ]


def test_task_that_goes_on_is_stuck():
    task = make_planned_task(make_step("a"))

    assert broken(task) == ["no task is stuck"]


def steps(task: Task, step_id: str) -> Any:
    return Step.objects.filter(task=task, step_id=step_id)


def leave_step_ready(task: Task) -> None:
    steps(task, "b").update(status="ready", output=None)


def leave_attempt_running(task: Task) -> None:
    Attempt.objects.filter(step__task=task, step__step_id="b").update(outcome="running")


def add_event(task: Task, type_: str, **data: Any) -> None:
    TaskEvent.objects.create(
        task=task,
        seq=task.event_seq + 1,
        type=type_,
        at=task.created_at,
        data=data,
        mac="0" * 64,
    )


def end_again(task: Task) -> None:
    add_event(task, "task.cancelled")


def start_after_the_end(task: Task) -> None:
    add_event(task, "step.started", step_id="c", attempt=1)


def change_the_status(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(status="failed")


def drop_result(task: Task) -> None:
    TaskResult.objects.filter(task=task).delete()


def drop_verdict(task: Task) -> None:
    Verdict.objects.filter(task=task).delete()


def do_twice(task: Task) -> None:
    step = steps(task, "a").get()
    Attempt.objects.create(
        step=step,
        number=2,
        claim_id=new_id(),
        request_id=new_id(),
        outcome="done",
        started_at=step.started_at,
    )


def begin_late(task: Task) -> None:
    Attempt.objects.filter(step__task=task, step__step_id="b").update(
        started_at=Now() + timedelta(hours=1)
    )


def begin_early(task: Task) -> None:
    Attempt.objects.filter(step__task=task, step__step_id="b").update(
        started_at=task.created_at
    )


def go_on_without_asking(task: Task) -> None:
    TaskEvent.objects.filter(task=task, type="plan.made").update(
        type="approval.requested"
    )


def leave_charge_held(task: Task) -> None:
    add_charge(task, state="held", settled_at=None)


def ask_again(task: Task) -> None:
    add_charge(task, reply="{}")
    add_charge(task, reply="{}", attempt=2)


def book_twice(task: Task) -> None:
    charge = add_charge(task)
    for _ in range(2):
        add_event(task, "charge.settled", charge_id=str(charge.pk))
        task.event_seq += 1


def spend_unbooked(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(spent_nano=5)


def hold_on(task: Task) -> None:
    Task.objects.filter(pk=task.pk).update(held_tokens=5)


def keep_envelope(task: Task) -> None:
    steps(task, "a").update(envelope_nano=5)


def spend_too_much(task: Task) -> None:
    add_charge(task, settled_nano=task.max_cost_nano + 1)


def forge(task: Task) -> None:
    TaskEvent.objects.filter(task=task, type="plan.made").update(data={})


def cut_off(task: Task) -> None:
    TaskEvent.objects.filter(task=task, seq=task.event_seq).delete()


def test_call_that_was_asked_again_while_it_was_under_way_is_two_calls(ended: Task):
    first = add_charge(ended, reply=None, state="presumed")
    add_charge(ended, reply="{}", attempt=2)
    Charge.objects.filter(pk=first.pk).update(
        reply="{}", state="settled", settled_at=Now()
    )

    assert broken(ended) == []
    assert calls_made_twice([ended.pk]) == 1


@pytest.mark.parametrize(
    ("act", "names"),
    [
        (leave_step_ready, {"no task is stuck"}),
        (leave_attempt_running, {"no task is stuck", "every step is done once"}),
        (end_again, {"every end is final", CHAIN}),
        (start_after_the_end, {"every end is final", CHAIN}),
        (change_the_status, {"every end is final"}),
        (drop_result, {"every end has its result and verdicts"}),
        (drop_verdict, {"every end has its result and verdicts"}),
        (do_twice, {"every step is done once"}),
        (begin_late, {"every step is done once"}),
        (begin_early, {"every step waits for those before it"}),
        (go_on_without_asking, {UNAPPROVED, CHAIN}),
        (leave_charge_held, {"no charge stays held"}),
        (ask_again, {"no call is charged twice"}),
        (book_twice, {"no call is charged twice", CHAIN}),
        (spend_unbooked, {"every ledger sums"}),
        (hold_on, {"every ledger sums"}),
        (keep_envelope, {"every ledger sums"}),
        (spend_too_much, {"no cap is passed unnoticed"}),
        (forge, {CHAIN}),
        (cut_off, {"every end is final", CHAIN}),
    ],
)
def test_what_breaks_an_invariant_is_noticed(
    ended: Task, act: Callable[[Task], None], names: set[str]
):
    act(ended)

    assert set(broken(ended)) == names
