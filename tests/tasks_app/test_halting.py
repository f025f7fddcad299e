"""Maintenance and the kill switch: what runs, what is given back, what waits."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import connection, connections, transaction
from django.utils import timezone
from typer.testing import CliRunner, Result

from arms.contract import CallPrice, ModelCall, ModelUsage
from octollm.access import owners
from octollm.errors import CallCancelledError
from octollm.log import configure
from octollm.resilience import switches
from octollm.resilience.deadline import StopToken
from octollm.resilience.models import Slot, Switch
from octollm.resilience.switches import MAINTENANCE
from tasks_app import commands, halting, reaper
from tasks_app.claims import HeldClaims, claim_next
from tasks_app.ledger import TaskMeter
from tasks_app.models import Attempt, Charge, Step, Task
from tasks_app.turn import task_turn
from tests.backlog import fill
from tests.builders import claim_of, done, make_owner, make_task, statuses

pytestmark = pytest.mark.django_db

CALL = ModelCall(
    purpose="planning",
    model="m",
    request_hash="h",
    input_tokens=100,
    output_tokens=50,
    price=CallPrice(input_per_million=2, output_per_million=10, source="tests"),  # type: ignore[arg-type] # whole dollars
)


@pytest.fixture(autouse=True)
def sent(monkeypatch) -> list[tuple[str, int]]:
    """What hints were sent, and no pause longer than needed."""
    hints: list[tuple[str, int]] = []
    monkeypatch.setattr(
        halting, "send_missing_hints", lambda queue, count: hints.append((queue, count))
    )
    monkeypatch.setattr(halting, "PAUSE_S", 0.01)
    return hints


class TestNow:
    def test_what_runs_is_ready_again_and_its_attempt_does_not_count(self):
        task = make_task()
        claim = claim_of(task, "plan")

        assert switches.turn_on(MAINTENANCE, by="ada", is_now=True) == 1

        step = Step.objects.get(task=task)
        assert (step.status, step.claim_id, step.attempt_count) == ("ready", None, 0)
        assert step.request_id == claim.request_id
        assert Attempt.objects.get(step=step).outcome == "released"
        assert claim_next(("default",), worker="w") is None

    def test_its_worker_stops_it_and_nothing_it_records_counts(self):
        held, stop, task = HeldClaims(), StopToken(60), make_task()
        claim = claim_of(task, "plan")
        switches.turn_on(MAINTENANCE, by="ada", is_now=True)

        with held.hold(claim, stop):
            assert held.stop_lost() == 1
        with task_turn(task.pk) as turn:
            assert not turn.end_attempt(claim, done({}))

        assert stop.is_cancelled
        assert statuses(task) == {"plan": "ready"}

    def test_nothing_more_is_spent(self):
        task = make_task()
        meter = TaskMeter(claim_of(task, "plan"))
        charge_id = meter.reserve(CALL)

        switches.turn_on(MAINTENANCE, by="ada", is_now=True)

        with pytest.raises(CallCancelledError):
            meter.reserve(CALL)
        assert Charge.objects.get().state == "presumed"
        task.refresh_from_db()
        assert (task.held_tokens, task.spent_tokens) == (0, 150)
        # The reply was on its way, and says what it really cost.
        meter.settle(charge_id, ModelUsage(input_tokens=10, output_tokens=5), "ok")
        task.refresh_from_db()
        assert (task.held_tokens, task.spent_tokens) == (0, 15)

    def test_slots_are_free_again(self):
        owner = make_owner()
        owners.limit(owner, 2)
        fill(owner, 2)
        while claim_next(("default",), worker="w") is not None:
            pass
        assert Slot.objects.filter(holder=None).count() == 0

        assert switches.turn_on(MAINTENANCE, by="ada", is_now=True) == 2

        assert Slot.objects.filter(holder=None).count() == 2

    def test_plain_maintenance_gives_nothing_back(self):
        task = make_task()
        claim_of(task, "plan")

        assert switches.turn_on(MAINTENANCE, by="ada") == 0
        assert halting.give_back_stopped() == 0
        assert statuses(task) == {"plan": "running"}

    def test_only_the_stopped_owner_s_steps_are_given_back(self):
        mine, other = make_task(), make_task()
        for task in (mine, other):
            claim_of(task, "plan")

        assert owners.stop(mine.owner, by="ada", is_now=True) == 1

        assert (statuses(mine), statuses(other)) == (
            {"plan": "ready"},
            {"plan": "running"},
        )

    def test_steps_that_a_plain_stop_let_run_are_given_back_by_a_second_one(self):
        task = make_task()
        claim_of(task, "plan")
        owners.stop(task.owner, by="ada")

        assert owners.stop(task.owner, by="ada", is_now=True) == 1

    def test_reaper_gives_back_what_was_claimed_at_the_last_moment(self):
        task = make_task()
        switches.turn_on(MAINTENANCE, by="ada", is_now=True)
        claim_of(task, "plan")

        reaper.tick(lambda queue, count: None)

        assert statuses(task) == {"plan": "ready"}

    @pytest.mark.django_db(transaction=True)
    def test_claim_that_is_being_made_meanwhile_is_given_back(self, monkeypatch):
        make_task()
        is_claimed, may_commit = threading.Event(), threading.Event()
        monkeypatch.setattr(halting, "PAUSE_S", 0.5)

        def claim_slowly() -> bool:
            try:
                with transaction.atomic():
                    claim = claim_next(("default",), worker="w")
                    is_claimed.set()
                    may_commit.wait(30)
                return claim is not None
            finally:
                connections.close_all()

        monkeypatch.setattr(
            halting, "give_back_stopped", _then(may_commit, halting.give_back_stopped)
        )
        with ThreadPoolExecutor(1) as pool:
            claiming = pool.submit(claim_slowly)
            assert is_claimed.wait(10)
            count = switches.turn_on(MAINTENANCE, by="ada", is_now=True)
            assert claiming.result(10)

        assert count == 1
        assert not Step.objects.filter(status="running").exists()

    @pytest.mark.django_db(transaction=True)
    def test_task_that_somebody_hangs_in_keeps_no_other_running(self, monkeypatch):
        monkeypatch.setattr(halting, "LONGEST_S", 0.1)
        hung, other = make_task(), make_task()
        for task in (hung, other):
            claim_of(task, "plan")
        with psycopg.connect(**connection.get_connection_params()) as holder:
            lock = "SELECT 1 FROM tasks WHERE id = %s FOR NO KEY UPDATE"
            holder.execute(lock, [hung.pk])

            assert switches.turn_on(MAINTENANCE, by="ada", is_now=True) == 1

        assert statuses(other) == {"plan": "ready"}
        assert halting.give_back_stopped() == 1


def _then(event: threading.Event, act: Any) -> Any:
    """Return what acts and then lets others go on."""

    def acted() -> Any:
        result = act()
        event.set()
        return result

    return acted


class TestWaiting:
    @pytest.fixture
    def old(self, settings) -> Task:
        """A task that has waited for twice the time that it may."""
        settings.OCTOLLM_QUEUE_TTL_S = 100.0
        task = make_task()
        since = timezone.now() - timedelta(seconds=200)
        Task.objects.filter(pk=task.pk).update(created_at=since)
        return task

    def stood(self, name: str, *, from_s: float, to_s: float | None) -> None:
        now = timezone.now()
        Switch.objects.create(
            name=name,
            by="ada",
            since=now - timedelta(seconds=from_s),
            ended_at=None if to_s is None else now - timedelta(seconds=to_s),
        )

    @pytest.mark.parametrize("to_s", [None, 20.0], ids=["on", "off again"])
    def test_time_of_maintenance_does_not_count_as_in_the_queue(self, old, to_s):
        self.stood(MAINTENANCE, from_s=150, to_s=to_s)

        assert reaper.stop_overdue_tasks() == 0
        assert statuses(old) == {"plan": "ready"}

    def test_time_of_its_owner_s_stop_does_not_count(self, old):
        self.stood(owners.scope_of(old.owner_id), from_s=150, to_s=20)

        assert reaper.stop_overdue_tasks() == 0

    def test_what_waited_too_long_all_the_same_ends(self, old):
        self.stood(MAINTENANCE, from_s=90, to_s=10)
        self.stood(owners.scope_of(make_owner().pk), from_s=190, to_s=None)

        assert reaper.stop_overdue_tasks() == 1
        old.refresh_from_db()
        assert old.stop_reason == "queue_ttl"

    def test_deadline_of_a_task_under_way_keeps_counting(self):
        task = make_task()
        claim_of(task, "plan")
        switches.turn_on(MAINTENANCE, by="ada", is_now=True)
        late = timezone.now() - timedelta(seconds=1)
        Task.objects.filter(pk=task.pk).update(deadline_at=late)

        assert reaper.stop_overdue_tasks() == 1

    def test_workers_are_woken_when_it_is_over(self, sent):
        make_task()
        switches.turn_on(MAINTENANCE, by="ada")
        assert sent == []

        switches.turn_off(MAINTENANCE, by="ada")

        assert ("default", 1) in sent

    def test_nobody_is_woken_for_what_may_not_start(self):
        hints: list[tuple[str, int]] = []
        make_task()
        Step.objects.update(run_after=timezone.now() - timedelta(minutes=1))
        switches.turn_on(MAINTENANCE, by="ada")

        reaper.hint_again(lambda queue, count: hints.append((queue, count)), rest_s=5)

        assert hints == []


class TestCommands:
    @pytest.fixture(autouse=True)
    def _joined(self, monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
        """Have the command find a system: the tests' own."""
        monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
        yield
        # The command set up logging to the stream that its runner caught and closed.
        configure(settings.LOGGING)

    def run(self, *words: str) -> Result:
        result = CliRunner().invoke(commands.app, words)
        assert result.exit_code == 0, result.output
        return result

    def test_maintenance_is_turned_on_and_off(self):
        claim_of(make_task(), "plan")

        on = self.run("maintenance", "on", "--reason", "a new disk")
        stands = switches.standing(MAINTENANCE)
        off, again = self.run("maintenance", "off"), self.run("maintenance", "off")

        assert on.stdout == "Maintenance is on. 1 steps run.\n"
        assert stands is not None
        assert (stands.reason, stands.is_now) == ("a new disk", False)
        assert "at the command line" in stands.by
        assert (off.stdout, again.stdout) == (
            "Maintenance is off.\n",
            "Maintenance was not on.\n",
        )

    @pytest.mark.parametrize("words", [("stop-all",), ("maintenance", "on", "--now")])
    def test_everything_is_stopped_now(self, words):
        claim_of(make_task(), "plan")

        told = self.run(*words, "--reason", "it burns").stdout

        assert told == "Maintenance is on. 1 steps were given back. 0 steps run.\n"
        stands = switches.standing(MAINTENANCE)
        assert stands is not None
        assert (stands.reason, stands.is_now) == ("it burns", True)

    def test_status_says_what_stands_runs_and_waits(self):
        calm = self.run("maintenance", "status").stdout
        claim_of(make_task(), "plan")
        make_task()
        switches.turn_on(MAINTENANCE, by="ada", reason="a new disk")

        plain = self.run("maintenance", "status").stdout
        shown = json.loads(self.run("maintenance", "status", "--json").stdout)

        assert calm == "Maintenance is off.\n0 steps run, 0 wait.\n"
        assert "by ada. a new disk\n1 steps run, 1 wait." in plain
        assert (shown["running"], shown["waiting"]) == (1, 1)
        assert shown["maintenance"]["by"] == "ada"
