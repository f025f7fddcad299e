"""Who comes first: fair shares between owners, and nobody waits for ever."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from datetime import timedelta

import psycopg
import pytest
from django.db import connection
from django.db.models import Max
from django.utils import timezone

from octollm.access import owners
from octollm.access.models import Owner
from octollm.resilience import switches
from octollm.resilience.models import Switch
from tasks_app import fairness
from tasks_app.claims import claim_next
from tasks_app.models import Step, Task
from tasks_app.turn import Claim, task_turn
from tests.backlog import fill
from tests.builders import (
    claim_of,
    done,
    finish_step,
    make_judge,
    make_owner,
    make_plan,
    make_planned_task,
    make_step,
    make_task,
)

pytestmark = pytest.mark.django_db

AGE_S = 300.0


def claimed() -> Claim:
    found = claim_next(("default",), worker="tests")
    assert found is not None
    return found


@dataclass
class Threads:
    """So many workers' threads, each of which takes the next step when one ends.

    The plan of a task is one step after another, then the judge.
    """

    count: int
    claims: list[Claim] = field(default_factory=list)
    running: deque[Claim] = field(default_factory=deque)

    def go_on(self, claims: int) -> None:
        """Let so many more steps be claimed."""
        for _ in range(claims):
            if len(self.running) == self.count:
                self._end(self.running.popleft())
            self.running.append(claimed())
            self.claims.append(self.running[-1])

    def _end(self, ending: Claim) -> None:
        with task_turn(ending.step.task_id) as turn:
            assert turn.end_attempt(ending, done({}))
            if ending.step.kind == Step.Kind.PLAN:
                steps = [make_step("a"), make_step("b", depends_on=("a",))]
                turn.add_plan(make_plan(), [*steps, make_judge()])
            if ending.step.kind == Step.Kind.JUDGE:
                turn.close(Task.Status.COMPLETED, result={})
            else:
                turn.advance()


class TestShares:
    @pytest.mark.parametrize("threads", [1, 4, 16])
    def test_thousand_tasks_of_one_owner_do_not_starve_the_one_of_another(
        self, threads
    ):
        fill(make_owner(), 1_000)
        workers = Threads(threads)
        workers.go_on(2 * threads)
        single = make_task()
        before = len(workers.claims)

        while not Task.objects.filter(pk=single.pk, finished_at__isnull=False).exists():
            workers.go_on(1)

        taken = [claim.step.task_id == single.pk for claim in workers.claims[before:]]
        # It is the next to start, and waits in between for what is under way.
        assert taken[0]
        assert sum(taken) == 4
        assert len(taken) <= 4 * (threads + 1)

    def test_owner_s_tasks_end_one_after_the_other_and_do_not_all_begin(self):
        owner = make_owner()
        fill(owner, 100)
        workers = Threads(4)
        begun = []

        for _ in range(25):
            workers.go_on(4)
            begun.append(Task.objects.filter(owner=owner, status="processing").count())

        assert Task.objects.filter(status="completed").count() >= 15
        assert max(begun) <= 10

    def test_owners_with_many_tasks_share_alike(self):
        first, second = make_owner(), make_owner()
        fill(first, 50)
        fill(second, 50)
        workers = Threads(4)

        workers.go_on(80)

        of_first = sum(c.step.owner_id == first.pk for c in workers.claims)
        assert 30 <= of_first <= 50

    def test_owner_with_few_tasks_goes_before_one_who_has_much_under_way(self):
        busy = make_owner()
        fill(busy, 5)
        for _ in range(3):
            claimed()

        late = make_task()

        assert claimed().step.task_id == late.pk

    @pytest.mark.parametrize("urgent", ["critical", "high", "medium"])
    def test_more_urgent_comes_first_whoever_it_is_of(self, urgent):
        fill(make_owner(), 3, priority="low")
        busy = make_owner()
        fill(busy, 20, priority=urgent)

        claims = [claimed() for _ in range(20)]

        assert {claim.step.owner_id for claim in claims} == {busy.pk}


class TestRanks:
    def ranks(self, owner: Owner) -> list[int]:
        ready = Step.objects.filter(owner=owner, status="ready")
        return list(ready.order_by("id").values_list("owner_rank", flat=True))

    def stale(self, owner: Owner, *, by: int = 500) -> None:
        """Have the owner's backlog of before drained."""
        for step in Step.objects.filter(owner=owner, status="ready"):
            step.owner_rank += by
            step.save(update_fields=["owner_rank"])

    def test_next_steps_get_the_ranks_of_now(self):
        owner = make_owner()
        fill(owner, 5)
        claim_of(make_task(owner=owner), "plan")
        self.stale(owner)

        assert fairness.renew_ranks() == 5
        # One runs; they come after it.
        assert self.ranks(owner) == [1, 2, 3, 4, 5]

    def test_fresh_and_lower_ranks_are_left(self):
        owner = make_owner()
        fill(owner, 3)
        Step.objects.filter(owner=owner).update(owner_rank=0)

        assert fairness.renew_ranks() == 0
        assert self.ranks(owner) == [0, 0, 0]

    def test_no_more_than_the_next_ones_are_renewed_at_a_time(self):
        owner = make_owner()
        fill(owner, fairness.HEAD + 10)
        self.stale(owner)

        assert fairness.renew_ranks() == fairness.HEAD

    def test_backlog_comes_to_its_turn_beside_an_endless_stream_of_others(self):
        large = make_owner()
        fill(large, 3)
        self.stale(large)
        # The others' claims run on, so nothing is free for long.
        for _ in range(20):
            make_task()
        assert all(claimed().step.owner_id != large.pk for _ in range(5))

        fairness.renew_ranks()

        assert claimed().step.owner_id == large.pk

    @pytest.mark.django_db(transaction=True)
    def test_step_that_is_being_changed_is_left_for_the_next_time(self):
        owner = make_owner()
        fill(owner, 2)
        self.stale(owner)
        first = Step.objects.filter(owner=owner).order_by("id")[0]
        with psycopg.connect(**connection.get_connection_params()) as holder:
            lock = "SELECT 1 FROM steps WHERE id = %s FOR NO KEY UPDATE"
            holder.execute(lock, [first.pk])

            assert fairness.renew_ranks() == 1

        fairness.renew_ranks()
        assert sorted(self.ranks(owner)) == [0, 1]


class TestAge:
    @pytest.fixture(autouse=True)
    def _age(self, settings):
        settings.OCTOLLM_PRIORITY_AGE_S = AGE_S

    def waited(self, owner: Owner, seconds: float) -> None:
        """Have all ready steps of an owner wait for so long."""
        since = timezone.now() - timedelta(seconds=seconds)
        Step.objects.filter(owner=owner, status="ready").update(ready_at=since)

    def urgency(self, owner: Owner) -> int:
        steps = Step.objects.filter(owner=owner, status="ready")
        return int(steps.order_by("priority_rank").values_list("priority_rank")[0][0])

    @pytest.mark.parametrize(
        ("periods", "expected"), [(0.9, 3), (1.1, 2), (2.1, 1), (3.1, 0), (50, 0)]
    )
    def test_step_gets_more_urgent_with_each_period(self, periods, expected):
        owner = make_owner()
        fill(owner, 1, priority="low")
        self.waited(owner, periods * AGE_S)

        fairness.age()

        assert self.urgency(owner) == expected
        assert fairness.age() == 0

    def test_age_of_nothing_is_never(self, settings):
        settings.OCTOLLM_PRIORITY_AGE_S = 0
        owner = make_owner()
        fill(owner, 1, priority="low")
        self.waited(owner, 10_000)

        assert fairness.age() == 0

    def test_one_step_of_each_owner_at_a_time(self):
        first, second = make_owner(), make_owner()
        for owner in (first, second):
            fill(owner, 10, priority="low")
            self.waited(owner, 10 * AGE_S)

        assert [fairness.age(), fairness.age()] == [2, 0]
        assert claimed().step.priority_rank == claimed().step.priority_rank == 0
        assert fairness.age() == 2

    def test_low_priority_comes_to_its_turn_beside_an_endless_urgent_stream(self):
        low = make_task(priority="low")
        fill(make_owner(), 50, priority="critical")
        assert all(claimed().step.task_id != low.pk for _ in range(5))
        self.waited(low.owner, 3.1 * AGE_S)

        fairness.age()

        assert low.pk in {claimed().step.task_id for _ in range(2)}

    def test_what_a_task_waited_for_its_later_steps_need_not(self):
        task = make_planned_task(
            make_step("a"), make_step("b", depends_on=("a",)), priority="low"
        )
        self.waited(task.owner, 3.1 * AGE_S)
        fairness.age()

        finish_step(task, "a")

        assert Step.objects.get(task=task, step_id="b").priority_rank == 0

    def test_time_of_an_operator_s_stop_does_not_make_urgent(self):
        owner, other = make_owner(), make_owner()
        now = timezone.now()
        for each in (owner, other):
            fill(each, 1, priority="low")
            self.waited(each, 3.1 * AGE_S)
        Switch.objects.create(
            name=owners.scope_of(owner.pk),
            by="ada",
            since=now - timedelta(seconds=3 * AGE_S),
            ended_at=now,
        )

        fairness.age()

        assert (self.urgency(owner), self.urgency(other)) == (3, 0)

    def test_nothing_ages_that_may_not_start(self):
        stopped, full = make_owner(), make_owner()
        owners.limit(full, 1)
        for owner in (stopped, full):
            fill(owner, 2, priority="low")
        while (found := claim_next(("default",), worker="w")) is not None:
            if found.step.owner_id == full.pk:
                break
        for owner in (stopped, full):
            self.waited(owner, 10 * AGE_S)
        owners.stop(stopped, by="ada")
        Switch.objects.all().delete()

        assert fairness.age() == 0

    def test_after_long_maintenance_all_are_as_urgent_as_before(self):
        owner = make_owner()
        fill(owner, 3, priority="low")
        self.waited(owner, 10 * AGE_S)
        switches.turn_on(switches.MAINTENANCE, by="ada")
        long_ago = timezone.now() - timedelta(seconds=11 * AGE_S)
        Switch.objects.update(since=long_ago)
        switches.turn_off(switches.MAINTENANCE, by="ada")

        fairness.age()

        steps = Step.objects.filter(owner=owner)
        assert steps.aggregate(most=Max("priority_rank"))["most"] == 3
        assert self.urgency(owner) == 3
