"""Owners' limits and stops at the claim: who gets nothing, and that no slot is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.utils import timezone

from octollm.access import owners
from octollm.access.models import Owner
from octollm.errors import OwnerStoppedError
from octollm.resilience import switches
from octollm.resilience.models import Slot
from tasks_app import actors, forks, order, reaper, runs, services
from tasks_app.actors import look
from tasks_app.claims import claim_next, count_ready, has_ready
from tasks_app.finish import close_cancelled
from tasks_app.hints import Hints
from tasks_app.models import Step, Task
from tasks_app.turn import Claim, Ending, task_turn
from tests.backlog import fill
from tests.builders import (
    done,
    failed,
    make_owner,
    make_planned_task,
    make_step,
    make_task,
)

DEFAULT = ("default",)
RETRY = Ending(status="ready", outcome="retry")


@pytest.fixture
def limited() -> Owner:
    """An owner of whom two steps may run at once."""
    owner = make_owner()
    owners.limit(owner, 2)
    return owner


def claim() -> Claim | None:
    return claim_next(DEFAULT, worker="tests")


def claimed() -> Claim:
    found = claim()
    assert found is not None
    return found


def end(found: Claim, ending: Ending) -> bool:
    with task_turn(found.step.task_id) as turn:
        return turn.end_attempt(found, ending)


def taken(owner: Owner) -> int:
    scope = owners.scope_of(owner.pk)
    return Slot.objects.filter(scope=scope, holder__isnull=False).count()


def running(owner: Owner) -> int:
    return Step.objects.filter(owner=owner, status="running").count()


@pytest.mark.django_db
class TestLimit:
    def test_owner_at_its_limit_gets_no_further_claim(self, limited):
        fill(limited, 3)

        assert [claim() is not None for _ in range(3)] == [True, True, False]
        assert not has_ready(DEFAULT)

    def test_another_owner_s_later_and_less_urgent_step_is_claimed(self, limited):
        fill(limited, 5, priority="critical")
        other = make_task(priority="low")
        for _ in range(2):
            claimed()

        assert has_ready(DEFAULT)
        assert claimed().step.task_id == other.pk
        assert (claim(), has_ready(DEFAULT)) == (None, False)

    def test_owner_without_a_limit_takes_no_slot(self):
        make_task()

        assert not claimed().has_slot
        assert not Slot.objects.exists()

    @pytest.mark.parametrize(
        "ending", [done({}), failed(), RETRY], ids=lambda e: e.outcome
    )
    def test_end_of_an_attempt_frees_its_slot_in_the_same_turn(self, limited, ending):
        fill(limited, 3)
        first = claimed()
        claimed()

        assert first.has_slot
        assert end(first, ending)

        assert taken(limited) == 1
        assert claim() is not None

    def test_turn_that_fails_frees_nothing(self, limited):
        fill(limited, 1)
        first = claimed()

        with transaction.atomic():
            end(first, done({}))
            transaction.set_rollback(True)

        assert taken(limited) == 1

    def test_slot_of_a_claim_that_comes_to_nothing_stays_free(self, limited):
        task = make_task(owner=limited)
        step = Step.objects.get(task=task)
        claimed()

        with task_turn(task.pk) as turn:
            assert turn.start_step(step, worker="w", is_limited=True) is None

        assert taken(limited) == 1

    def test_late_record_frees_no_slot_of_who_has_the_step_now(self, limited):
        fill(limited, 1)
        late = claimed()
        with task_turn(late.step.task_id) as turn:
            turn.lose_attempt(Step.objects.get(pk=late.step.pk))
        assert taken(limited) == 0
        second = claimed()

        assert not end(late, done({}))

        assert taken(limited) == 1
        assert Slot.objects.get(holder__isnull=False).holder == second.claim_id

    def test_task_that_is_cancelled_frees_its_slots(self, limited):
        task = make_planned_task(make_step("a"), make_step("b"), owner=limited)
        claimed(), claimed()
        assert taken(limited) == 2

        with task_turn(task.pk) as turn:
            close_cancelled(turn)

        assert taken(limited) == 0

    def test_lost_lease_frees_its_slot(self, limited):
        fill(limited, 1)
        claimed()
        Step.objects.update(lease_until=timezone.now() - timedelta(seconds=1))

        reaper.take_back_lost_steps()

        assert taken(limited) == 0
        assert claim() is not None

    def test_slot_that_leaked_is_swept_and_a_held_one_is_not(self, limited):
        fill(limited, 2)
        leaked, held = claimed(), claimed()
        # As a worker does that knows of no slots.
        Step.objects.filter(pk=leaked.step.pk).update(status="cancelled", claim_id=None)

        assert reaper.sweep_slots() == 1

        assert Slot.objects.get(holder__isnull=False).holder == held.claim_id

    def test_limit_that_is_lifted_lets_all_start(self, limited):
        fill(limited, 4)
        claimed(), claimed()
        assert claim() is None

        owners.limit(limited, None)

        assert [claim() is not None for _ in range(3)] == [True, True, False]

    def test_hints_are_counted_for_what_may_be_claimed(self, limited):
        fill(limited, 5)
        fill(make_owner(), 2)

        assert count_ready("default", most=100) == 7
        assert count_ready("default", most=3) == 3
        assert count_ready("default", most=100, rest_s=60) == 0
        # One of each, then the second of the first: it is at its limit.
        claims = [claimed() for _ in range(3)]

        assert sum(found.has_slot for found in claims) == 2
        assert count_ready("default", most=100) == 1


@pytest.mark.django_db
class TestStops:
    def test_stopped_owner_gets_no_claim_and_others_do(self):
        stopped, other = make_owner(), make_owner()
        fill(stopped, 3, priority="critical")
        fill(other, 1, priority="low")
        owners.stop(stopped, by="ada")

        assert claimed().step.owner_id == other.pk
        assert (claim(), has_ready(DEFAULT)) == (None, False)
        owners.start(stopped, by="ada")

        assert claimed().step.owner_id == stopped.pk

    def test_what_runs_of_a_stopped_owner_goes_on(self):
        owner = make_owner()
        fill(owner, 1)
        found = claimed()

        owners.stop(owner, by="ada")

        assert end(found, done({}))

    def test_submission_of_a_stopped_owner_is_refused_and_nothing_stored(self):
        owner = make_owner()
        owners.stop(owner, by="ada")
        owner.refresh_from_db()
        submission: Any = None  # it is not looked at

        with pytest.raises(OwnerStoppedError):
            services.submit_task(owner, submission)

    def test_task_of_a_stopped_owner_is_neither_retried_nor_raised_nor_forked(self):
        task = make_task()
        with task_turn(task.pk) as turn:
            turn.close(Task.Status.FAILED, result={})
        owners.stop(task.owner, by="ada")
        task.owner.refresh_from_db()

        with pytest.raises(OwnerStoppedError):
            runs.retry_task(task.pk, owner=task.owner)
        with pytest.raises(OwnerStoppedError):
            runs.raise_budget(task.pk, runs.Caps(max_tokens=20_000), owner=task.owner)
        with pytest.raises(OwnerStoppedError):
            forks.fork_task(task.owner, task.pk, forks.Changes(), key=None)

        assert Task.objects.get(pk=task.pk).status == "failed"
        assert Task.objects.count() == 1

    def test_nothing_is_claimed_during_maintenance(self):
        make_task()
        switches.turn_on(switches.MAINTENANCE, by="ada")

        assert (claim(), has_ready(DEFAULT)) == (None, False)
        assert count_ready("default", most=10) == 0
        switches.turn_off(switches.MAINTENANCE, by="ada")

        assert has_ready(DEFAULT)
        assert claim() is not None


@pytest.mark.django_db(transaction=True)
class TestBacklogInFront:
    """The claim reads few pages, whatever waits in front of what may start."""

    COUNT = 10_000
    # A claim that looked at each of them would read more than 400 pages.
    PAGES = 150

    def pages(self, statement: str) -> int:
        with connection.cursor() as cursor:
            cursor.execute(
                f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}",
                {"queue": "default"},
            )
            (plan,) = cursor.fetchone()[0]
        return int(
            plan["Plan"]["Shared Hit Blocks"] + plan["Plan"]["Shared Read Blocks"]
        )

    def analyze(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("ANALYZE steps, tasks, owners, slots")

    @pytest.mark.parametrize("is_stopped", [True, False], ids=["stopped", "full"])
    def test_one_step_behind_ten_thousand_that_may_not_start(self, limited, is_stopped):
        fill(limited, self.COUNT, priority="critical")
        fill(small := make_owner(), 1, priority="low")
        self.analyze()
        if is_stopped:
            owners.stop(limited, by="ada")
        else:
            claimed(), claimed()
        searches = (order.FIRST, order.FIRST_UNBLOCKED, order.FIRST_OF_OTHERS)

        read = sum(self.pages(each) for each in (*searches, order.IS_ANY_READY))

        assert read < self.PAGES
        assert has_ready(DEFAULT)
        assert claimed().step.owner_id == small.pk

    def test_backlog_of_an_owner_without_a_limit(self):
        fill(make_owner(), self.COUNT)
        self.analyze()

        assert self.pages(order.FIRST) < 30


@pytest.mark.django_db(transaction=True)
class TestTogether:
    def together(self, count: int, act: Callable[[], Any]) -> list[Any]:
        barrier = threading.Barrier(count)

        def one() -> Any:
            try:
                barrier.wait(10)
                return act()
            finally:
                connections.close_all()

        with ThreadPoolExecutor(count) as pool:
            futures = [pool.submit(one) for _ in range(count)]
            return [future.result(60) for future in futures]

    def test_of_sixteen_claimers_three_ever_run_at_once(self):
        owner, other = make_owner(), make_owner()
        owners.limit(owner, 3)
        fill(owner, 60)
        fill(other, 40)
        seen: list[tuple[int, int]] = []

        def work() -> int:
            ended = 0
            while has_ready(DEFAULT):
                if (found := claim()) is None:
                    continue
                # Runs now: by the steps, and by the slots.
                seen.append((running(owner), taken(owner)))
                assert end(found, done({}))
                ended += 1
            return ended

        ended = sum(self.together(16, work))
        left = [claim() for _ in range(10)]

        assert max(count for count, _ in seen) <= 3
        assert max(count for _, count in seen) <= 3
        assert ended + sum(found is not None for found in left) == 100
        assert Step.objects.filter(status="done").count() == ended

    def test_claims_that_end_in_nothing_leave_no_slot_behind(self):
        owner = make_owner()
        owners.limit(owner, 2)
        fill(owner, 1)

        def try_often() -> int:
            return sum(claim() is not None for _ in range(20))

        assert sum(self.together(8, try_often)) == 1
        assert (running(owner), taken(owner)) == (1, 1)

    def test_look_that_finds_only_blocked_steps_ends_at_once(self, monkeypatch):
        owner = make_owner()
        fill(owner, 5)
        owners.stop(owner, by="ada")
        monkeypatch.setattr(time, "sleep", None)

        look("default")

        assert running(owner) == 0

    def test_end_of_a_limited_step_wakes_one_more_worker(self, monkeypatch):
        owner = make_owner()
        owners.limit(owner, 1)
        make_planned_task(make_step("a"), owner=owner)
        sent: list[Hints] = []
        monkeypatch.setattr(actors, "send_hints", lambda _, hints: sent.append(hints))

        look("default")

        assert sum(hints.count for hints in sent if hints.count > 0) == 2
        assert Task.objects.get().status == "completed"


@pytest.mark.django_db
def test_blocked_are_the_stopped_and_the_full_and_nobody_else(limited):
    stopped, half = make_owner(), make_owner()
    owners.limit(half, 2)
    owners.stop(stopped, by="ada")
    fill(limited, 2)
    claimed(), claimed()
    fill(half, 1)
    claimed()

    with connection.cursor() as cursor:
        cursor.execute(owners.BLOCKED)
        blocked = {row[0] for row in cursor.fetchall()}

    assert blocked == {stopped.pk, limited.pk}
