"""The reaper: nothing stays stuck, and two leaders do no harm."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from arms.contract import CallPrice, ModelCall
from octollm.resilience.leaders import lead, resign
from octollm.resilience.models import Worker
from tasks_app import reaper
from tasks_app.ledger import TaskMeter
from tasks_app.models import Charge, Step, Task, TaskResult
from tasks_app.turn import Turn
from tests.builders import (
    claim_of,
    finish_step,
    make_planned_task,
    make_step,
    make_task,
    statuses,
)

pytestmark = pytest.mark.django_db

LONG_AGO = timedelta(hours=48)


def expire_lease(task: Task, step_id: str) -> None:
    past = timezone.now() - timedelta(seconds=1)
    Step.objects.filter(task=task, step_id=step_id).update(lease_until=past)


class TestLeases:
    def test_expired_lease_makes_the_step_ready(self):
        task = make_planned_task(make_step("a"))
        claim_of(task, "a")
        expire_lease(task, "a")

        assert reaper.take_back_lost_steps() == 1
        assert statuses(task)["a"] == "ready"

    def test_living_lease_is_left(self):
        task = make_planned_task(make_step("a"))
        claim_of(task, "a")

        assert reaper.take_back_lost_steps() == 0
        assert statuses(task)["a"] == "running"

    def test_step_that_lost_its_last_worker_is_dead_and_its_branch_skipped(
        self, settings
    ):
        settings.OCTOLLM_MAX_ATTEMPTS = 1
        task = make_planned_task(
            make_step("a"), make_step("b", depends_on=("a",)), make_step("c")
        )
        finish_step(task, "c")
        claim_of(task, "a")
        expire_lease(task, "a")

        reaper.take_back_lost_steps()

        assert statuses(task) == {
            "plan": "done",
            "a": "dead",
            "b": "skipped",
            "c": "done",
            "judge": "ready",
        }

    def test_plan_step_that_is_dead_ends_the_task(self, settings):
        settings.OCTOLLM_MAX_ATTEMPTS = 1
        task = make_task()
        claim_of(task, "plan")
        expire_lease(task, "plan")

        reaper.take_back_lost_steps()

        ended: Any = Task.objects.get(pk=task.pk)
        assert (ended.status, ended.error["code"]) == ("failed", "worker_lost")

    def test_second_leader_finds_nothing_left_to_do(self):
        task = make_planned_task(make_step("a"), make_step("b"))
        for step_id in "ab":
            claim_of(task, step_id)
            expire_lease(task, step_id)

        assert reaper.take_back_lost_steps() == 1
        assert reaper.take_back_lost_steps() == 0
        assert Step.objects.filter(task=task, attempt_count=1).count() == 3


class TestOneBadTask:
    def lost_tasks(self) -> tuple[Task, Task]:
        tasks = (make_planned_task(make_step("a")), make_planned_task(make_step("a")))
        for task in tasks:
            claim_of(task, "a")
            expire_lease(task, "a")
        return tasks

    @pytest.mark.django_db(transaction=True)
    def test_task_that_somebody_hangs_in_keeps_no_other_waiting(self):
        hung, other = self.lost_tasks()
        with psycopg.connect(**connection.get_connection_params()) as holder:
            lock = "SELECT 1 FROM tasks WHERE id = %s FOR NO KEY UPDATE"
            holder.execute(lock, [hung.pk])

            with connection.cursor() as cursor:
                cursor.execute("SET lock_timeout = '2s'")
            assert reaper.take_back_lost_steps() == 1
            assert (statuses(hung)["a"], statuses(other)["a"]) == ("running", "ready")

        assert reaper.take_back_lost_steps() == 1

    def test_task_that_cannot_be_tended_keeps_no_other_waiting(
        self, monkeypatch, caplog
    ):
        broken, other = self.lost_tasks()
        lose = Turn.lose_attempt

        def lose_or_fail(turn: Turn, step: Step) -> Any:
            if step.task_id == broken.pk:
                raise ValueError("unforeseen")
            return lose(turn, step)

        monkeypatch.setattr(Turn, "lose_attempt", lose_or_fail)

        assert reaper.take_back_lost_steps() == 1
        assert (statuses(broken)["a"], statuses(other)["a"]) == ("running", "ready")
        assert "a task could not be tended" in caplog.text


class TestDeadlines:
    def test_task_past_its_deadline_ends_with_what_there_is(self):
        task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
        finish_step(task, "a")
        Task.objects.filter(pk=task.pk).update(
            deadline_at=timezone.now() - timedelta(seconds=1)
        )

        assert reaper.stop_overdue_tasks() == 1

        task.refresh_from_db()
        assert (task.status, task.stop_reason) == ("failed", "deadline")
        assert TaskResult.objects.get(task=task).result_data["outputs"]["a"]

    def test_task_that_nobody_started_ends(self):
        task = make_task()
        Task.objects.filter(pk=task.pk).update(created_at=timezone.now() - LONG_AGO)

        assert reaper.stop_overdue_tasks() == 1

        task.refresh_from_db()
        assert (task.status, task.stop_reason) == ("failed", "queue_ttl")
        assert statuses(task) == {"plan": "cancelled"}

    def test_ended_task_is_left(self):
        task = make_task()
        Task.objects.filter(pk=task.pk).update(created_at=timezone.now() - LONG_AGO)
        reaper.stop_overdue_tasks()

        assert reaper.stop_overdue_tasks() == 0


class TestHints:
    def sent(self) -> list[tuple[str, int]]:
        hints: list[tuple[str, int]] = []
        reaper.hint_again(lambda queue, count: hints.append((queue, count)), rest_s=5)
        return hints

    def test_step_that_waits_long_is_hinted_again(self):
        for _ in range(2):
            make_task()
        Step.objects.update(run_after=timezone.now() - timedelta(minutes=1))

        assert self.sent() == [("default", 2)]

    def test_step_that_has_just_turned_ready_is_not(self):
        make_task()

        assert self.sent() == []

    @pytest.mark.parametrize("max_attempts", [1, 3], ids=["dead", "taken back"])
    def test_what_a_lost_worker_leaves_ready_is_hinted_at_once(
        self, settings, max_attempts
    ):
        settings.OCTOLLM_MAX_ATTEMPTS = max_attempts
        task = make_planned_task(make_step("a"), make_step("b"))
        finish_step(task, "b")
        claim_of(task, "a")
        expire_lease(task, "a")
        hints: list[tuple[str, int]] = []

        reaper.tick(lambda queue, count: hints.append((queue, count)))

        assert "ready" in statuses(task).values()
        assert hints == [("default", 1)]

    def test_running_step_is_not(self):
        claim_of(make_task(), "plan")
        Step.objects.update(run_after=timezone.now() - timedelta(minutes=1))

        assert self.sent() == []


class TestCharges:
    def held(self, task: Task) -> Charge:
        price = CallPrice(
            input_per_million=Decimal(1), output_per_million=Decimal(1), source="t"
        )
        call = ModelCall(
            purpose="planning",
            model="m",
            request_hash="h",
            input_tokens=10,
            output_tokens=10,
            price=price,
        )
        return Charge.objects.get(pk=TaskMeter(claim_of(task, "plan")).reserve(call))

    def test_call_of_a_lost_worker_is_booked_at_its_worst_at_once(self):
        task = make_task()
        charge = self.held(task)
        expire_lease(task, "plan")

        reaper.take_back_lost_steps()

        charge.refresh_from_db()
        task.refresh_from_db()
        assert charge.state == "presumed"
        assert (task.held_nano, task.spent_nano) == (0, 20_000)

    def test_call_that_its_attempt_left_open_is_booked_at_its_worst_later(self):
        task = make_task()
        charge = self.held(task)
        Step.objects.filter(task=task).update(status="ready", claim_id=None)
        assert reaper.presume_lost_charges() == 0
        Charge.objects.update(created_at=timezone.now() - timedelta(minutes=5))

        assert reaper.presume_lost_charges() == 1

        charge.refresh_from_db()
        task.refresh_from_db()
        assert charge.state == "presumed"
        assert (task.held_nano, task.spent_nano) == (0, 20_000)

    def test_call_under_way_is_left(self):
        self.held(make_task())
        Charge.objects.update(created_at=timezone.now() - timedelta(minutes=5))

        assert reaper.presume_lost_charges() == 0


class TestLeaders:
    def test_one_leads_until_its_time_is_over(self):
        assert lead("reaper", holder="a", ttl_s=60)
        assert lead("reaper", holder="a", ttl_s=60)
        assert not lead("reaper", holder="b", ttl_s=60)

    def test_another_takes_over_when_the_time_is_over(self):
        assert lead("reaper", holder="a", ttl_s=-1)
        assert lead("reaper", holder="b", ttl_s=60)
        assert not lead("reaper", holder="a", ttl_s=60)

    def test_who_leaves_need_not_be_waited_for(self):
        lead("reaper", holder="a", ttl_s=60)
        resign("reaper", holder="a")

        assert lead("reaper", holder="b", ttl_s=60)

    def test_duties_are_led_apart(self):
        assert lead("reaper", holder="a", ttl_s=60)
        assert lead("prober", holder="b", ttl_s=60)


def test_silent_workers_are_forgotten():
    for name, silent in (("old", LONG_AGO), ("new", timedelta(0))):
        Worker.objects.create(
            id=name, hostname="h", pid=1, heartbeat_at=timezone.now() - silent
        )

    assert reaper.forget_workers() == 1
    assert list(Worker.objects.values_list("id", flat=True)) == ["new"]
