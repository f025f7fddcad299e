"""A resumed step is answered from what it paid for, call by call."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from tasks_app.ledger import TaskMeter, presume_lost
from tasks_app.models import Charge, Task
from tasks_app.turn import task_turn
from tests.builders import claim_of
from tests.calls import books, call, claimed, lose, usage

pytestmark = pytest.mark.django_db


def ask(meter: TaskMeter, request_hash: str, answer: str | None) -> str:
    """Make a call as a gateway does; None: the answer is lost."""
    recorded = meter.replay(request_hash)
    if recorded.reply is not None:
        return f"again: {recorded.reply}"
    charge_id = meter.reserve(call(request_hash=request_hash, nth=recorded.nth))
    if answer is None:
        meter.presume(charge_id)
        return "lost"
    meter.settle(charge_id, usage(), answer)
    return answer


def resumed(task: Task) -> TaskMeter:
    """Return the meter of the next attempt at the plan step."""
    return TaskMeter(claim_of(task, "plan"))


def test_replies_come_again_in_order_and_cost_nothing():
    task, claim, meter = claimed()
    for answer in ("first", "second"):
        ask(meter, "h", answer)
    lose(claim)
    spent = books(task)

    meter = resumed(task)

    assert [ask(meter, "h", "new") for _ in range(2)] == [
        "again: first",
        "again: second",
    ]
    assert books(task) == spent
    assert ask(meter, "h", "third") == "third"


def test_a_call_that_was_lost_in_the_middle_is_the_only_one_made_again():
    task, claim, meter = claimed()
    for answer in ("first", None, "third"):
        ask(meter, "h", answer)
    lose(claim)

    meter = resumed(task)
    answers = [ask(meter, "h", "second") for _ in range(3)]

    assert answers == ["again: first", "second", "again: third"]
    assert list(Charge.objects.values_list("nth", "state").order_by("created_at")) == [
        (0, "settled"),
        (1, "presumed"),
        (2, "settled"),
        (1, "settled"),
    ]


def test_other_calls_may_come_in_any_order():
    task, claim, meter = claimed()
    for name in ("a", "b", "c"):
        ask(meter, name, f"{name} once")
    lose(claim)

    meter = resumed(task)

    assert [ask(meter, name, None) for name in ("c", "a", "b")] == [
        "again: c once",
        "again: a once",
        "again: b once",
    ]


def test_taken_replies_are_counted():
    task, claim, meter = claimed()
    ask(meter, "h", "first")
    for _ in range(2):
        lose(claim)
        claim = claim_of(task, "plan")
        ask(TaskMeter(claim), "h", None)

    assert Charge.objects.get().replay_count == 2


def test_of_two_answers_to_one_call_the_first_is_kept_and_both_are_paid():
    """The worker was thought dead, and its call was made again; then it answered."""
    task, claim, meter = claimed()
    recorded = meter.replay("h")
    slow = meter.reserve(call(nth=recorded.nth))
    lose(claim)
    with task_turn(task.pk) as turn:
        presume_lost(turn)
    second = claim_of(task, "plan")
    ask(TaskMeter(second), "h", "quick")

    meter.settle(slow, usage(), "slow")

    assert books(task) == (1_400_000, 0, 300, 0)
    assert Charge.objects.get(pk=slow).state == "corrected"
    lose(second)
    assert ask(resumed(task), "h", None) == "again: quick"


def test_a_late_answer_saves_the_next_attempt_its_call():
    task, claim, meter = claimed()
    slow = meter.reserve(call(nth=meter.replay("h").nth))
    lose(claim)
    with task_turn(task.pk) as turn:
        presume_lost(turn)
    meter.settle(slow, usage(), "late")

    assert ask(resumed(task), "h", None) == "again: late"
    assert books(task) == (700_000, 0, 150, 0)


def test_what_a_version_before_did_not_number_is_asked_again():
    task, claim, meter = claimed()
    for answer in ("first", "second"):
        charge_id = meter.reserve(call())
        Charge.objects.filter(pk=charge_id).update(nth=None)
        meter.settle(charge_id, usage(), answer)
    lose(claim)

    assert ask(resumed(task), "h", "new") == "new"


@pytest.mark.django_db(transaction=True)
def test_equal_calls_of_threads_at_once_are_numbered_apart():
    # All eight may be held at once.
    task, claim, meter = claimed(max_tokens=20_000)

    def one(meter: TaskMeter) -> str:
        try:
            return ask(meter, "h", "new")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        first = list(pool.map(one, [meter] * 8))
        lose(claim)
        again = list(pool.map(one, [resumed(task)] * 8))

    assert first == ["new"] * 8
    assert again == ["again: new"] * 8
    numbers = Charge.objects.order_by("nth").values_list("nth", flat=True)
    assert list(numbers) == list(range(8))
    assert set(Charge.objects.values_list("replay_count", flat=True)) == {1}
