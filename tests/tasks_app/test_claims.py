"""Claiming: who gets which step, and what a lease is worth."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from octollm.resilience.deadline import StopToken
from tasks_app.claims import HeldClaims, claim_next, has_ready
from tasks_app.models import Attempt, Step, Task
from tasks_app.order import STEP_VERSION
from tasks_app.turn import task_turn
from tests.builders import (
    claim_of,
    done,
    finish_step,
    make_owner,
    make_planned_task,
    make_step,
    make_task,
)

DEFAULT = ("default",)


@pytest.mark.django_db
class TestOrder:
    def test_nothing_ready_gives_nothing(self):
        assert claim_next(DEFAULT, worker="w") is None
        assert not has_ready(DEFAULT)

    def test_claim_records_worker_attempt_and_lease(self):
        task = make_task()

        claim = claim_next(DEFAULT, worker="w1")

        step: Any = Step.objects.get(task=task)
        assert claim is not None
        assert (step.status, step.worker, step.attempt_count) == ("running", "w1", 1)
        assert step.claim_id == claim.claim_id
        assert step.lease_until > timezone.now()
        assert Attempt.objects.get(step=step).request_id == claim.request_id

    def test_first_claim_starts_the_clock(self):
        task = make_task(max_time_seconds=60)

        claim_next(DEFAULT, worker="w")

        row: Any = Task.objects.get(pk=task.pk)
        assert (row.status, row.stage) == ("processing", "planning")
        assert row.deadline_at - row.started_at == timedelta(seconds=60)

    @pytest.mark.parametrize("first", ["critical", "high", "medium"])
    def test_more_urgent_task_comes_first(self, first):
        make_task(priority="low")
        urgent = make_task(priority=first)

        claim = claim_next(DEFAULT, worker="w")

        assert claim is not None
        assert claim.step.task_id == urgent.pk

    def test_older_task_of_equal_rank_comes_first(self):
        old, _ = make_task(), make_task()

        claim = claim_next(DEFAULT, worker="w")

        assert claim is not None
        assert claim.step.task_id == old.pk

    def test_owner_with_many_open_steps_waits_behind_another(self):
        busy, idle = make_owner(), make_owner()
        for _ in range(5):
            make_task(owner=busy)
        late = make_task(owner=idle)

        claims = [claim_next(DEFAULT, worker="w") for _ in range(2)]

        assert late.pk in {claim.step.task_id for claim in claims if claim}

    def test_step_of_another_queue_is_left(self):
        task = make_task()
        Step.objects.filter(task=task).update(queue="sandbox")

        assert claim_next(DEFAULT, worker="w") is None
        assert claim_next(("sandbox",), worker="w") is not None

    def test_step_of_a_newer_version_is_left_to_newer_workers(self):
        task = make_task()
        Step.objects.filter(task=task).update(version=STEP_VERSION + 1)

        assert claim_next(DEFAULT, worker="old") is None
        assert not has_ready(DEFAULT)

    def test_step_is_left_until_its_retry_is_due(self):
        task = make_task()
        later = timezone.now() + timedelta(hours=1)
        Step.objects.filter(task=task).update(run_after=later)

        assert claim_next(DEFAULT, worker="w") is None
        assert not has_ready(DEFAULT)

    def test_claimed_step_is_not_claimed_again(self):
        make_task()

        assert claim_next(DEFAULT, worker="w") is not None
        assert claim_next(DEFAULT, worker="w") is None


@pytest.mark.django_db(transaction=True)
class TestRaces:
    def test_eight_threads_claim_each_step_once(self):
        for _ in range(20):
            make_task()
        barrier = threading.Barrier(8)

        def claim_all() -> list[str]:
            try:
                barrier.wait(10)
                claimed = []
                while has_ready(DEFAULT):
                    claim = claim_next(DEFAULT, worker="w")
                    if claim is not None:
                        claimed.append(str(claim.step.pk))
                return claimed
            finally:
                connections.close_all()

        with ThreadPoolExecutor(8) as pool:
            futures = [pool.submit(claim_all) for _ in range(8)]
            claimed = [pk for future in futures for pk in future.result(60)]

        assert len(claimed) == len(set(claimed)) == 20

    def test_step_of_a_locked_task_is_passed_over_and_seen(self):
        task = make_task()
        locked, release = threading.Event(), threading.Event()

        def hold_lock() -> None:
            try:
                with task_turn(task.pk):
                    locked.set()
                    release.wait(30)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(1) as pool:
            holder = pool.submit(hold_lock)
            assert locked.wait(10)
            hidden = claim_next(DEFAULT, worker="w"), has_ready(DEFAULT)
            release.set()
            holder.result(10)

        assert hidden == (None, True)
        assert claim_next(DEFAULT, worker="w") is not None

    def test_parents_that_settle_at_once_start_the_child_once(self):
        """100 forced races on the join of a diamond."""
        for _ in range(100):
            task = make_planned_task(
                make_step("a"),
                make_step("b", depends_on=("a",)),
                make_step("c", depends_on=("a",)),
                make_step("d", depends_on=("b", "c")),
            )
            finish_step(task, "a")
            claims = [claim_of(task, "b"), claim_of(task, "c")]
            barrier = threading.Barrier(2)

            def settle(claim, task=task, barrier=barrier) -> int:
                try:
                    barrier.wait(10)
                    with task_turn(task.pk) as turn:
                        turn.end_attempt(claim, done({}))
                        return turn.advance()
                finally:
                    connections.close_all()

            with ThreadPoolExecutor(2) as pool:
                readied = sorted(pool.map(settle, claims))

            assert readied == [0, 1]
            assert Step.objects.get(task=task, step_id="d").status == "ready"

    def test_claiming_does_not_wait_for_a_row_that_refers_to_the_task(self):
        task = make_task()

        with transaction.atomic():
            Task.objects.select_for_update(no_key=True).get(pk=task.pk)
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT 1 FROM tasks WHERE id = %s FOR KEY SHARE", [task.pk]
                )

                assert cursor.fetchone() == (1,)


@pytest.mark.django_db
class TestLeases:
    def test_renewal_prolongs_all_claims_of_the_process(self):
        held = HeldClaims()
        claims = [claim_of(make_task(), "plan") for _ in range(2)]
        past = timezone.now() - timedelta(seconds=5)
        Step.objects.update(lease_until=past)

        with held.hold(claims[0], StopToken(60)), held.hold(claims[1], StopToken(60)):
            assert held.renew() == 2

        assert Step.objects.filter(lease_until__gt=timezone.now()).count() == 2

    def test_renewal_does_not_revive_a_lost_claim(self):
        held = HeldClaims()
        claim = claim_of(make_task(), "plan")
        with task_turn(claim.step.task_id) as turn:
            step = Step.objects.get(pk=claim.step.pk)
            turn.lose_attempt(step)

        with held.hold(claim, StopToken(60)):
            assert held.renew() == 0

    def test_lost_claim_stops_its_work(self):
        held, lost, kept = HeldClaims(), StopToken(60), StopToken(60)
        gone, mine = claim_of(make_task(), "plan"), claim_of(make_task(), "plan")

        with held.hold(gone, lost), held.hold(mine, kept):
            with task_turn(gone.step.task_id) as turn:
                turn.lose_attempt(Step.objects.get(pk=gone.step.pk))
            assert held.stop_lost() == 1

        assert (lost.is_cancelled, kept.is_cancelled) == (True, False)

    def test_late_reply_cannot_overwrite(self):
        task = make_task()
        late = claim_of(task, "plan")
        with task_turn(task.pk) as turn:
            turn.lose_attempt(Step.objects.get(pk=late.step.pk))
        finish_step(task, "plan", done({"by": "second"}))

        with task_turn(task.pk) as turn:
            is_recorded = turn.end_attempt(late, done({"by": "first"}))

        assert not is_recorded
        assert Step.objects.get(task=task).output == {"by": "second"}

    def test_invocation_keeps_its_id_when_its_worker_is_lost(self):
        task = make_task()
        first = claim_of(task, "plan")
        with task_turn(task.pk) as turn:
            turn.lose_attempt(Step.objects.get(pk=first.step.pk))

        second = claim_of(task, "plan")

        assert second.request_id == first.request_id
        assert second.claim_id != first.claim_id

    def test_nothing_held_asks_nothing(self, django_assert_num_queries):
        held = HeldClaims()

        with django_assert_num_queries(0):
            assert (held.renew(), held.stop_lost()) == (0, 0)
