"""A raised budget: who has it at once, who goes on with it, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import dramatiq
import pytest
from django.db import connections
from django.utils import timezone

from octollm.access.models import Owner
from octollm.errors import (
    BudgetExceededError,
    BudgetLoweredError,
    BudgetUsedUpError,
    DeadlineExceededError,
    IllegalStateError,
    OwnerBudgetExceededError,
)
from tasks_app import pipeline, reaper, runs, tending
from tasks_app.finish import close_cancelled
from tasks_app.ledger import TaskMeter
from tasks_app.models import Task
from tasks_app.pipeline import run_step
from tasks_app.runs import Caps
from tasks_app.turn import task_turn
from tests.builders import (
    claim_of,
    finish_step,
    make_owner,
    make_task,
)
from tests.tasks_app.test_runs import (
    attempts,
    call,
    chain,
    event_types,
    half_done,
    run_all,
    step_of,
    stopped,
)

pytestmark = pytest.mark.django_db


class TestRaisedBudget:
    def raised(self, task: Task, **caps: Any) -> Any:
        runs.raise_budget(task.pk, Caps(**caps), owner=task.owner)
        task.refresh_from_db()
        return task

    def test_open_task_has_it_at_once(self):
        task = chain()

        task = self.raised(task, max_cost_usd=Decimal("2.5"), max_tokens=20_000)

        assert (task.max_cost_usd, task.max_tokens) == (Decimal("2.5"), 20_000)
        assert (task.status, task.run) == ("processing", 1)
        assert event_types(task)[-1] == "task.budget_raised"

    def test_deadline_of_a_task_that_runs_moves_by_as_much(self):
        task = chain(max_time_seconds=60)
        before: Any = Task.objects.get(pk=task.pk).deadline_at

        task = self.raised(task, max_time_seconds=100)

        assert task.deadline_at - before == timedelta(seconds=40)

    def test_task_that_waits_has_no_deadline_yet(self):
        task = self.raised(make_task(), max_time_seconds=900)

        assert (task.max_time_seconds, task.deadline_at) == (900, None)

    @pytest.mark.parametrize(
        ("reason", "caps"),
        [
            ("budget_tokens", {"max_tokens": 20_000}),
            ("budget_cost", {"max_cost_usd": Decimal(2)}),
            ("deadline", {"max_time_seconds": 900}),
        ],
    )
    def test_task_that_it_stopped_goes_on_where_it_stopped(self, reason, caps):
        task = self.raised(half_done(reason), **caps)
        assert (task.status, task.run) == ("processing", 2)

        task = run_all(task)

        assert (task.status, task.stop_reason) == ("completed", "")
        assert [attempts(task, each) for each in "abc"] == [1, 2, 1]

    def test_budget_counts_for_all_runs_together(self):
        task = chain()
        finish_step(task, "a")
        with task_turn(task.pk) as turn:
            turn.spend(nano=0, tokens=9_900)
        stopped(task, "budget_tokens")
        task = self.raised(task, max_tokens=11_000)

        meter = TaskMeter(claim_of(task, "b"))

        with pytest.raises(BudgetExceededError):
            meter.reserve(call(input_tokens=1_000, output_tokens=101))

    @pytest.mark.parametrize(
        "caps", [{"max_tokens": 9_999}, {"max_cost_usd": Decimal("0.999999")}]
    )
    def test_lower_cap_is_refused(self, caps):
        task = chain()

        with pytest.raises(BudgetLoweredError, match="already"):
            self.raised(task, **caps)

    def test_same_cap_again_changes_nothing_while_it_runs(self):
        task = self.raised(chain(), max_tokens=10_000)

        assert (task.status, task.max_tokens) == ("processing", 10_000)

    @pytest.mark.parametrize(
        "caps",
        [{"max_tokens": 10_000}, {"max_cost_usd": Decimal(9)}, {"max_tokens": 10_400}],
        ids=["not raised", "another one", "below what was spent"],
    )
    def test_cap_that_would_stop_it_at_once_is_refused(self, caps):
        task = chain()
        finish_step(task, "a")
        with task_turn(task.pk) as turn:
            turn.spend(nano=0, tokens=10_500)
        stopped(task, "budget_tokens")

        with pytest.raises(BudgetUsedUpError, match="max_tokens"):
            self.raised(task, **caps)

        assert Task.objects.get(pk=task.pk).max_cost_usd == 1

    @pytest.mark.parametrize("status", ["completed", "cancelled"])
    def test_task_that_is_over_takes_none(self, status):
        task = chain()
        if status == "completed":
            run_all(task)
        else:
            with task_turn(task.pk) as turn:
                close_cancelled(turn)

        with pytest.raises(IllegalStateError, match=status):
            self.raised(task, max_tokens=20_000)

    def test_task_that_failed_otherwise_keeps_it_for_its_retry(self):
        task = half_done("work_failed")
        with task_turn(task.pk) as turn:
            turn.spend(nano=0, tokens=10_000)

        task = self.raised(task, max_tokens=20_000)
        assert (task.status, task.run) == ("failed", 1)
        runs.retry_task(task.pk)

        assert run_all(task).status == "completed"

    def test_another_owners_task_is_not_there(self):
        with pytest.raises(Task.DoesNotExist):
            runs.raise_budget(chain().pk, Caps(max_tokens=20_000), owner=make_owner())

    def test_ready_steps_are_hinted_after_the_commit(
        self, django_capture_on_commit_callbacks
    ):
        task = half_done()
        broker: Any = dramatiq.get_broker()
        queue = f"{broker.namespace}:default"
        before = broker.client.llen(queue)

        with django_capture_on_commit_callbacks(execute=True):
            self.raised(task, max_tokens=20_000)

        # b, which waits for nothing that is not done, and c.
        assert broker.client.llen(queue) - before == 2

    def test_many_at_once_end_at_the_highest(self, transactional_db):
        task = half_done()
        owner = Owner.objects.get(pk=task.owner_id)

        def raise_to(tokens: int) -> str:
            try:
                runs.raise_budget(task.pk, Caps(max_tokens=tokens), owner=owner)
            except BudgetLoweredError:
                return "lower"
            finally:
                connections.close_all()
            return "raised"

        caps = [12_000, 20_000, 14_000, 18_000, 16_000, 20_000]
        with ThreadPoolExecutor(6) as pool:
            outcomes = list(pool.map(raise_to, caps))

        task.refresh_from_db()
        assert (task.max_tokens, task.run) == (20_000, 2)
        assert outcomes[1] == outcomes[5] == "raised"


class TestOwnersCap:
    """What is raised, or goes on, is reserved of the owner's month first."""

    @staticmethod
    def owner(cap_usd: str) -> Owner:
        owner = make_owner()
        owner.monthly_cap_usd = Decimal(cap_usd)
        owner.save()
        return owner

    def test_cap_that_does_not_hold_the_difference_refuses_it(self):
        task = chain(owner=self.owner("1.5"))

        with pytest.raises(OwnerBudgetExceededError):
            runs.raise_budget(task.pk, Caps(max_cost_usd=Decimal(2)), owner=task.owner)

        assert Task.objects.get(pk=task.pk).max_cost_usd == 1
        runs.raise_budget(task.pk, Caps(max_cost_usd=Decimal("1.5")), owner=task.owner)
        assert Task.objects.get(pk=task.pk).max_cost_usd == Decimal("1.5")

    def test_task_that_goes_on_is_reserved_again(self):
        owner = self.owner("1.5")
        task = half_done("deadline", owner=owner)
        other = make_task(owner=owner)

        with pytest.raises(OwnerBudgetExceededError):
            runs.retry_task(task.pk)
        assert Task.objects.get(pk=task.pk).status == "failed"

        with task_turn(other.pk) as turn:
            close_cancelled(turn)
        runs.retry_task(task.pk)
        assert Task.objects.get(pk=task.pk).status == "processing"


class TestRaisedMeanwhile:
    """A limit that a worker has met, or the reaper seen, was raised before it says so."""

    @pytest.mark.parametrize(
        ("error", "caps"),
        [
            (BudgetExceededError(limit="tokens"), {"max_tokens": 20_000}),
            (BudgetExceededError(limit="cost"), {"max_cost_usd": Decimal(2)}),
            (DeadlineExceededError(), {"max_time_seconds": 900}),
        ],
    )
    def test_step_that_met_the_old_one_tries_again(self, monkeypatch, error, caps):
        task = chain()
        claim = claim_of(task, "a")

        def meets_it(*_: Any) -> Any:
            runs.raise_budget(task.pk, Caps(**caps), owner=task.owner)
            raise error

        monkeypatch.setattr(pipeline, "work", meets_it)
        hints = run_step(claim)

        assert hints.count == 1
        assert Task.objects.get(pk=task.pk).status == "processing"
        assert (step_of(task, "a").status, step_of(task, "a").attempt_count) == (
            *("ready", 0),
        )

    def test_step_that_meets_the_new_one_stops_the_task(self, monkeypatch):
        task = chain()
        runs.raise_budget(task.pk, Caps(max_tokens=20_000), owner=task.owner)

        def meets_it(*_: Any) -> Any:
            raise BudgetExceededError(limit="tokens")

        monkeypatch.setattr(pipeline, "work", meets_it)
        run_step(claim_of(task, "a"))

        assert Task.objects.get(pk=task.pk).stop_reason == "budget_tokens"

    def test_reaper_leaves_a_task_that_got_more_time_since_it_looked(self, monkeypatch):
        task = chain(max_time_seconds=60)
        Task.objects.filter(pk=task.pk).update(
            deadline_at=timezone.now() - timedelta(seconds=1)
        )
        act_on = tending._act_on

        def raised_first(task_id: Any, act: Any) -> bool:
            runs.raise_budget(task.pk, Caps(max_time_seconds=900), owner=task.owner)
            return act_on(task_id, act)

        monkeypatch.setattr(tending, "_act_on", raised_first)
        reaper.stop_overdue_tasks()

        assert Task.objects.get(pk=task.pk).status == "processing"
