"""Where a reservation comes from, who waits for it, and why nobody waits for ever."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections

from octollm.errors import BudgetBusyError, BudgetExceededError
from tasks_app import endings
from tasks_app.ledger import TaskMeter
from tasks_app.models import Charge, Step, Task
from tasks_app.turn import Claim, Ending, task_turn
from tests.builders import (
    claim_of,
    done,
    make_judge,
    make_plan,
    make_planned_task,
    make_step,
    make_task,
)
from tests.calls import books, call, claimed, sums, usage

pytestmark = pytest.mark.django_db

# Of dollars, in nano-dollars: what one call of the tests may cost at most.
CALL = 7_000_000


def usd(nano: int) -> Decimal:
    return Decimal(nano) / 10**9


def judged_task(*steps: Step, judge: dict[str, int], **overrides: Any) -> Task:
    """Return a planned task whose judge has an envelope."""
    task = make_task(**overrides)
    claim = claim_of(task, "plan")
    with task_turn(task.pk) as turn:
        turn.end_attempt(claim, done({}))
        turn.add_plan(make_plan(), [*steps, make_judge(**judge)])
        turn.advance()
    return task


def meters(task: Task, *step_ids: str) -> list[TaskMeter]:
    return [TaskMeter(claim_of(task, step_id)) for step_id in step_ids]


def put_back(claim: Claim) -> None:
    """End an attempt as the pipeline does for a step that waits."""
    endings.settle_error(claim, BudgetBusyError(limit="cost"))


def held_event(task: Task) -> dict[str, Any]:
    event = task.events.filter(type="charge.held").order_by("-seq")[0]
    data: dict[str, Any] = event.data
    return data


class TestTopUps:
    def test_a_call_larger_than_the_envelope_says_what_it_drew_from_the_rest(self):
        task = make_planned_task(
            make_step("a", envelope_nano=5_000_000, envelope_tokens=1000)
        )

        meters(task, "a")[0].reserve(call())

        assert books(task) == sums(task) == (0, CALL, 0, 1500)
        told = held_event(task)
        assert (told["top_up_nano"], told["top_up_tokens"]) == (2_000_000, 500)
        assert "lent_by" not in told

    def test_a_call_within_the_envelope_draws_nothing_else(self):
        task = make_planned_task(
            make_step("a", envelope_nano=2 * CALL, envelope_tokens=9000)
        )

        meters(task, "a")[0].reserve(call())

        told = held_event(task)
        assert (told["top_up_nano"], told["top_up_tokens"]) == (0, 0)
        assert books(task) == sums(task) == (0, 2 * CALL, 0, 9000)


class TestTheJudgesEnvelope:
    @pytest.mark.parametrize(
        ("limits", "limit"),
        [
            ({"max_cost_usd": usd(CALL + 999_000)}, "cost"),
            ({"max_tokens": 1500 + 99}, "tokens"),
        ],
    )
    def test_no_top_up_takes_it(self, limits: dict[str, Any], limit: str):
        judge = {"envelope_nano": 1_000_000, "envelope_tokens": 100}
        task = judged_task(make_step("a"), judge=judge, **limits)

        with pytest.raises(BudgetExceededError, match="judging keeps") as caught:
            meters(task, "a")[0].reserve(call())

        assert not isinstance(caught.value, BudgetBusyError)
        assert caught.value.limit == limit
        assert Step.objects.get(task=task, kind="judge").envelope_nano == 1_000_000

    def test_the_judge_may_use_it_though_the_work_overran(self):
        judge = {"envelope_nano": CALL, "envelope_tokens": 1500}
        task = judged_task(make_step("a"), judge=judge, max_cost_usd=usd(3 * CALL))
        work = claim_of(task, "a")
        meter = TaskMeter(work)
        meter.settle(meter.reserve(call()), usage(9_000, 9_000), "reply")
        with task_turn(task.pk) as turn:
            turn.end_attempt(work, done({}))
            turn.advance()

        meters(task, "judge")[0].reserve(call())

        assert books(task) == sums(task)
        assert task.spent_nano > task.max_cost_nano

    @pytest.mark.django_db(transaction=True)
    def test_sixteen_writers_leave_it_alone(self):
        steps = [make_step(f"s{n}") for n in range(16)]
        judge = {"envelope_nano": 2 * CALL, "envelope_tokens": 3000}
        task = judged_task(
            *steps, judge=judge, max_cost_usd=usd(9 * CALL), max_tokens=100_000
        )
        writers = meters(task, *(step.step_id for step in steps))

        def work(meter: TaskMeter) -> int:
            """Reserve and settle until refused; return how often that went."""
            count = 0
            try:
                while True:
                    charge_id = meter.reserve(call(request_hash=str(count)))
                    meter.settle(charge_id, usage(1000, 400), "reply")
                    count += 1
            except BudgetExceededError:
                return count
            finally:
                connections.close_all()

        with ThreadPoolExecutor(16) as pool:
            granted = sum(pool.map(work, writers))

        # Six million each; a call needs seven, and 14 of the 63 are the judge's.
        assert granted == 8
        assert books(task) == sums(task)
        kept = Step.objects.get(task=task, kind="judge")
        assert (kept.envelope_nano, kept.envelope_tokens) == (2 * CALL, 3000)
        assert task.spent_nano + task.held_nano <= task.max_cost_nano


class TestWaiting:
    def test_what_a_sibling_at_work_holds_is_waited_for(self):
        task = make_planned_task(
            make_step("a"), make_step("b"), max_cost_usd=usd(CALL + 1)
        )
        first, second = meters(task, "a", "b")
        first.reserve(call())

        with pytest.raises(BudgetBusyError):
            second.reserve(call())

        task.refresh_from_db()
        waiting = Step.objects.get(task=task, step_id="b")
        assert task.budget_waiters == [waiting.pk]

    def test_who_gives_back_wakes_those_who_wait(
        self, django_capture_on_commit_callbacks, monkeypatch: pytest.MonkeyPatch
    ):
        sent: list[str] = []
        monkeypatch.setattr(
            "tasks_app.task_row.send_hints", lambda queue, _: sent.append(queue)
        )
        task = make_planned_task(
            make_step("a"), make_step("b"), max_cost_usd=usd(CALL + 1)
        )
        (first,), waiting = meters(task, "a"), claim_of(task, "b")
        charge_id = first.reserve(call())
        with pytest.raises(BudgetBusyError):
            TaskMeter(waiting).reserve(call())
        put_back(waiting)
        assert Step.objects.get(pk=waiting.step.pk).run_after > datetime.now(UTC)

        with django_capture_on_commit_callbacks(execute=True):
            first.settle(charge_id, usage(), "reply")

        assert Step.objects.get(pk=waiting.step.pk).run_after <= datetime.now(UTC)
        assert sent == ["default"]
        TaskMeter(claim_of(task, "b")).reserve(call(output_tokens=400))
        task.refresh_from_db()
        assert task.budget_waiters == []

    def test_what_is_given_back_before_the_step_is_put_back_is_not_missed(self):
        task = make_planned_task(
            make_step("a"), make_step("b"), max_cost_usd=usd(CALL + 1)
        )
        (first,), waiting = meters(task, "a"), claim_of(task, "b")
        charge_id = first.reserve(call())
        with pytest.raises(BudgetBusyError):
            TaskMeter(waiting).reserve(call())
        first.settle(charge_id, usage(), "reply")

        put_back(waiting)

        assert Step.objects.get(pk=waiting.step.pk).run_after <= datetime.now(UTC)

    @pytest.mark.parametrize("ending", [done({}), None], ids=["done", "failed"])
    def test_the_end_of_a_sibling_wakes_too(self, ending: Ending | None):
        task = make_planned_task(
            make_step("a", envelope_nano=CALL),
            make_step("b"),
            max_cost_usd=usd(CALL + 1),
        )
        first, waiting = claim_of(task, "a"), claim_of(task, "b")
        with pytest.raises(BudgetBusyError):
            TaskMeter(waiting).reserve(call())
        put_back(waiting)

        with task_turn(task.pk) as turn:
            turn.end_attempt(first, ending or Ending(status="failed", outcome="failed"))

        assert Step.objects.get(pk=waiting.step.pk).run_after <= datetime.now(UTC)


class TestNobodyWaitsForEver:
    def test_steps_that_wait_for_each_other_lend_to_the_one_that_asks_last(self):
        task = judged_task(
            make_step("a", envelope_nano=4_000_000),
            make_step("b", envelope_nano=4_000_000),
            judge={"envelope_nano": 3_000_000},
            max_cost_usd=usd(11_000_000),
        )
        first, second = meters(task, "a", "b")
        with pytest.raises(BudgetBusyError):
            first.reserve(call())

        second.reserve(call())

        assert books(task) == sums(task) == (0, 11_000_000, 0, 1500)
        assert Step.objects.get(task=task, kind="judge").envelope_nano == 3_000_000
        assert held_event(task)["lent_by"] == ["a"]
        assert Step.objects.get(task=task, step_id="a").envelope_nano == 1_000_000

    def test_a_step_at_work_that_holds_nothing_is_not_waited_for(self):
        task = make_planned_task(
            make_step("a"),
            make_step("b"),
            make_step("c", depends_on=("a",), envelope_nano=CALL),
            max_cost_usd=usd(CALL),
        )
        first, _ = meters(task, "a", "b")

        first.reserve(call())

        assert held_event(task)["lent_by"] == ["c"]

    def test_a_step_that_depends_on_it_lends_at_once(self):
        task = make_planned_task(
            make_step("a"),
            make_step("b", depends_on=("a",), envelope_nano=CALL),
            max_cost_usd=usd(CALL),
        )

        meters(task, "a")[0].reserve(call())

        assert books(task) == sums(task) == (0, CALL, 0, 1500)
        assert held_event(task)["lent_by"] == ["b"]

    def test_what_can_never_fit_is_refused_at_once_though_others_hold(self):
        task = make_planned_task(make_step("a"), make_step("b"), max_tokens=2000)
        first, second = meters(task, "a", "b")
        charge_id = first.reserve(call())
        first.settle(charge_id, usage(500, 200), "reply")
        first.reserve(call(800, 400, request_hash="other"))

        with pytest.raises(BudgetExceededError) as caught:
            second.reserve(call())

        assert not isinstance(caught.value, BudgetBusyError)
        assert (caught.value.limit, caught.value.room_tokens) == ("tokens", 1300)
        assert "may take 1500 tokens; 1300 of 2000 are left" in caught.value.message

    def test_all_who_wait_end_when_nobody_holds_any_more(self):
        """Each round lets at least one of them go on, or ends the task."""
        steps = [make_step(f"s{n}", envelope_nano=2_000_000) for n in range(4)]
        task = make_planned_task(*steps, max_cost_usd=usd(15_000_000))
        open_steps = {step.step_id for step in steps}
        rounds = 0
        while open_steps and not task.is_terminal:
            rounds += 1
            before = set(open_steps)
            claims = {step_id: claim_of(task, step_id) for step_id in sorted(before)}
            for step_id, claim in claims.items():
                if not Task.objects.get(pk=task.pk).is_terminal:
                    open_steps -= {step_id} if self._tried(claim) else set()
            task.refresh_from_db()
            assert open_steps < before or task.is_terminal
        assert (task.stop_reason, rounds) == ("budget_cost", 2)
        assert task.spent_nano == 2 * CALL
        assert books(task) == sums(task)

    @staticmethod
    def _tried(claim: Claim) -> bool:
        """Have a step call and end, at all that it may cost; say whether it did."""
        meter = TaskMeter(claim)
        try:
            meter.presume(meter.reserve(call()))
        except BudgetExceededError as refused:
            endings.settle_error(claim, refused)
            return False
        with task_turn(claim.step.task_id) as turn:
            turn.end_attempt(claim, done({}))
        return True

    def test_lost_charges_of_others_are_no_reason_to_wait_once_presumed(self):
        task, _, meter = claimed(max_cost_usd=usd(CALL + 1))
        charge_id = meter.reserve(call())
        meter.presume(charge_id)

        with pytest.raises(BudgetExceededError) as caught:
            meter.reserve(call(request_hash="other"))

        assert not isinstance(caught.value, BudgetBusyError)
        assert books(task)[0] == CALL
        assert Charge.objects.filter(task=task).count() == 1
