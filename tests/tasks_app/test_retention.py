"""Retention: what is old goes in small batches, and what stays says so."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.db import connection
from django.utils import timezone

from arms.models import Execution, ServedExecution
from octollm.errors import VaultError
from reflex.models import Screening, VaultEntry, VaultKey
from reflex.vault import shred
from tasks_app import audit, reaper, retention
from tasks_app.models import (
    Attempt,
    Charge,
    EventCheckpoint,
    RetentionCursor,
    Step,
    Task,
    TaskEvent,
    TaskResult,
    Verdict,
)
from tasks_app.turn import task_turn
from tests.builders import (
    conceal,
    make_charge,
    make_ended_task,
    make_planned_task,
    make_step,
)

pytestmark = pytest.mark.django_db

ADDRESS = "eve@" + "corp.example"


def breaks() -> list[tuple[str, Any]]:
    found = audit.verify(audit.Tally(), audit.Selection())
    return [(each.kind, each.task_id) for each in found]


def screening(scope_id: Any, *, days_ago: float) -> Screening:
    row = Screening.objects.create(
        scope_id=scope_id,
        checkpoint="request",
        action="allow",
        ruleset_version="1",
        text_length=1,
        duration_ms=0.1,
    )
    created_at = timezone.now() - timedelta(days=days_ago)
    Screening.objects.filter(pk=row.pk).update(created_at=created_at)
    return row


def execution(scope_id: Any, *, days_ago: float) -> Execution:
    return Execution.objects.create(
        request_id=uuid4(),
        scope_id=scope_id,
        arm="gate",
        reply={"output": {"value": 1}},
        finished_at=timezone.now() - timedelta(days=days_ago),
    )


def served(scope_id: Any, *, days_ago: float) -> ServedExecution:
    return ServedExecution.objects.create(
        request_id=uuid4(),
        scope_id=scope_id,
        arm="gate",
        life=uuid4(),
        state="done",
        outcome="ciphertext",
        renewed_at=timezone.now() - timedelta(days=days_ago),
    )


def make_verdict(task: Task, **overrides: Any) -> Verdict:
    place = {"run": 1, "plan_version": 1, "kind": "criterion", "position": 0}
    return Verdict.objects.create(
        task=task, criterion="c", verdict="met", **(place | overrides)
    )


class TestEvents:
    def test_old_events_give_way_to_a_signed_checkpoint(self, keep):
        keep("EVENTS")
        task = make_ended_task(days_ago=31)

        retention.tick()

        checkpoint = EventCheckpoint.objects.get()
        assert not TaskEvent.objects.exists()
        assert (checkpoint.seq, checkpoint.mac) == (task.event_seq, task.event_head)
        assert checkpoint.is_genuine
        assert breaks() == []

    def test_chain_goes_on_behind_its_checkpoint(self, keep):
        keep("EVENTS")
        task = make_ended_task(days_ago=31)
        retention.tick()
        with task_turn(task.pk) as turn:
            turn.event("retention.vault")

        assert TaskEvent.objects.get().seq == task.event_seq + 1
        assert breaks() == []

    def test_tasks_that_ended_lately_or_not_at_all_are_left(self, keep):
        keep("EVENTS")
        make_ended_task(days_ago=29)
        open_task = make_planned_task(make_step("a"))
        long_ago = timezone.now() - timedelta(days=300)
        Task.objects.filter(pk=open_task.pk).update(created_at=long_ago)
        count = TaskEvent.objects.count()

        retention.tick()

        assert TaskEvent.objects.count() == count
        assert not EventCheckpoint.objects.exists()

    def test_nothing_is_removed_when_no_days_are_set(self, keep):
        make_ended_task(days_ago=3_000)

        retention.tick()

        assert TaskEvent.objects.exists()

    def test_chain_that_does_not_hold_is_kept_as_evidence(self, keep, caplog):
        keep("EVENTS")
        task = make_ended_task(days_ago=31)
        TaskEvent.objects.filter(task=task, seq=2).update(data={"forged": True})
        count = TaskEvent.objects.count()

        retention.tick()

        assert TaskEvent.objects.count() == count
        assert "its events are kept" in caplog.text
        assert breaks() == [("event_changed", task.pk)]

    def test_forged_checkpoint_is_no_ground_to_remove_more(self, keep):
        keep("EVENTS")
        task = make_ended_task(days_ago=31)
        # The chain would go on from it: only the signature tells.
        first = TaskEvent.objects.get(task=task, seq=1)
        mac = first.mac
        first.delete()
        EventCheckpoint.objects.create(
            task=task,
            seq=1,
            mac=mac,
            status="cancelled",
            at=timezone.now(),
            signature="0" * 64,
        )

        retention.tick()

        assert TaskEvent.objects.filter(task=task).exists()
        assert breaks() == [("checkpoint_forged", task.pk)]

    def test_task_that_ran_again_gets_a_later_checkpoint(self, keep):
        keep("EVENTS")
        task = make_ended_task(days_ago=40)
        retention.tick()
        with task_turn(task.pk) as turn:
            turn.event("task.noted")
        later = timezone.now() - timedelta(days=31)
        Task.objects.filter(pk=task.pk).update(finished_at=later)

        retention.tick()

        assert EventCheckpoint.objects.get().seq == task.event_seq + 1
        assert not TaskEvent.objects.exists()
        assert breaks() == []


class TestResults:
    def test_results_and_the_texts_they_were_made_of_go(self, keep):
        keep("RESULTS")
        task = make_ended_task(days_ago=31)
        execution(task.pk, days_ago=31)
        served(task.pk, days_ago=31)
        step = Step.objects.get(task=task, step_id="a")
        Attempt.objects.filter(step=step).update(log="the arm said much")
        make_verdict(task, evidence="a quotation")
        settled = {"state": "settled", "settled_nano": 7, "settled_at": timezone.now()}
        make_charge(step, reply="a model's words", **settled)

        retention.tick()

        step.refresh_from_db()
        verdict, charge = Verdict.objects.get(), Charge.objects.get()
        assert not TaskResult.objects.exists()
        assert not Execution.objects.exists()
        assert not ServedExecution.objects.exists()
        assert (step.status, step.output, step.evidence) == ("done", {}, [])
        assert not Attempt.objects.exclude(log="").exists()
        assert (verdict.verdict, verdict.evidence) == ("met", "")
        assert (charge.settled_nano, charge.reply) == (7, None)
        assert breaks() == []

    def test_removal_is_an_event_and_done_once(self, keep):
        keep("RESULTS")
        task = make_ended_task(days_ago=31)

        retention.tick()
        RetentionCursor.objects.all().delete()
        retention.tick()

        types = TaskEvent.objects.filter(task=task).values_list("type", flat=True)
        assert list(types).count("retention.results") == 1

    def test_results_of_open_and_of_young_tasks_stay(self, keep):
        keep("RESULTS")
        young = make_ended_task(days_ago=29)

        retention.tick()

        assert TaskResult.objects.get().task_id == young.pk


class TestVault:
    def test_values_of_an_old_task_are_shredded(self, keep):
        keep("VAULT")
        task = make_ended_task(days_ago=31)
        conceal(task, ADDRESS)

        retention.tick()

        assert not VaultKey.objects.exists()
        assert not VaultEntry.objects.exists()
        assert Task.objects.get(pk=task.pk).removed_parts == ["vault"]
        assert breaks() == []

    def test_what_served_arms_were_shown_goes_with_the_values(self, keep):
        keep("VAULT")
        task, young = make_ended_task(days_ago=31), make_ended_task(days_ago=29)
        conceal(task, ADDRESS)
        served(task.pk, days_ago=31)
        kept = served(young.pk, days_ago=29)

        retention.tick()

        assert list(ServedExecution.objects.all()) == [kept]

    def test_shredded_scope_gives_out_no_number_again(self, keep):
        # [EMAIL_1] stands in the goal for what was shredded; a new value must not
        # come to stand there.
        keep("VAULT")
        task = make_ended_task(days_ago=31)
        conceal(task, ADDRESS)
        retention.tick()

        with pytest.raises(VaultError):
            conceal(task, "other@" + "corp.example")

    def test_vaults_of_owners_and_of_open_tasks_stay(self, keep):
        keep("VAULT")
        open_task = make_planned_task(make_step("a"))
        conceal(open_task, ADDRESS)

        retention.tick()

        assert VaultKey.objects.count() == 1


class TestIdempotency:
    def test_old_key_is_forgotten_and_young_ones_are_not(self, keep):
        keep("IDEMPOTENCY")
        old, young = make_ended_task(days_ago=31), make_ended_task(days_ago=1)
        for number, task in enumerate((old, young)):
            macs = {"idempotency_mac": f"{number}" * 64, "request_mac": "r" * 64}
            Task.objects.filter(pk=task.pk).update(**macs)

        retention.tick()

        old.refresh_from_db()
        young.refresh_from_db()
        assert (old.idempotency_mac, old.request_mac) == (None, "")
        assert young.idempotency_mac == "1" * 64


class TestRowsByAge:
    @pytest.mark.parametrize(
        ("part", "make"),
        [
            ("SCREENINGS", screening),
            ("EXECUTIONS", execution),
            ("EXECUTIONS", served),
        ],
    )
    def test_old_rows_go_unless_their_task_is_open(self, keep, part, make):
        keep(part)
        open_task = make_planned_task(make_step("a"))
        kept = {
            make(open_task.pk, days_ago=31).pk,
            make(make_ended_task().pk, days_ago=29).pk,
        }
        make(make_ended_task().pk, days_ago=31)
        make(uuid4(), days_ago=31)  # of a request that was refused

        retention.tick()

        model = type(make(uuid4(), days_ago=0))
        young = model.objects.order_by("-pk")
        assert kept <= set(young.values_list("pk", flat=True))
        assert young.count() == 3

    def test_batch_is_bounded_and_the_next_tick_goes_on(self, keep, monkeypatch):
        keep("SCREENINGS")
        monkeypatch.setattr(retention, "MAX_ROWS", 2)
        for _ in range(5):
            screening(uuid4(), days_ago=31)

        left = []
        for _ in range(3):
            retention.tick()
            left.append(Screening.objects.count())

        assert left == [3, 1, 0]


class TestBatches:
    def test_tick_takes_a_batch_and_the_next_goes_on(self, keep, monkeypatch):
        keep("EVENTS")
        monkeypatch.setattr(retention, "MAX_TASKS", 2)
        for _ in range(3):
            make_ended_task(days_ago=31)

        retention.tick()
        assert EventCheckpoint.objects.count() == 2
        retention.tick()
        assert EventCheckpoint.objects.count() == 3

    def test_tick_stops_when_its_time_is_over(self, keep, monkeypatch):
        keep("EVENTS")
        monkeypatch.setattr(retention, "DUTY_S", 0.0)
        monkeypatch.setattr(retention, "CHUNK", 1)
        for _ in range(3):
            make_ended_task(days_ago=31)

        retention.tick()

        assert EventCheckpoint.objects.count() == 1

    def test_tasks_that_were_dealt_with_are_not_looked_at_again(self, keep):
        keep("EVENTS")
        task = make_ended_task(days_ago=31)
        retention.tick()
        cursor = RetentionCursor.objects.get(part="events")

        assert (cursor.task_id, cursor.finished_at) == (task.pk, task.finished_at)
        before = timezone.now()
        assert retention._ended_tasks(retention._PARTS[-1], before) == []

    def test_second_leader_does_no_harm(self, keep):
        keep()
        task = make_ended_task(days_ago=31)
        conceal(task, ADDRESS)
        retention.tick()
        events = TaskEvent.objects.count()
        RetentionCursor.objects.all().delete()

        retention.tick()

        assert TaskEvent.objects.count() == events
        assert breaks() == []

    def test_cursor_of_a_slower_leader_does_not_go_back(self, keep):
        keep("EVENTS")
        task = make_ended_task(days_ago=31)
        retention.tick()
        earlier: dict[str, Any] = {
            "part": "events",
            "finished_at": timezone.now() - timedelta(days=99),
            "task": uuid4(),
        }
        with connection.cursor() as cursor:
            cursor.execute(retention._MOVE_CURSOR, earlier)

        assert RetentionCursor.objects.get(pk="events").task_id == task.pk

    def test_one_bad_task_keeps_no_other(self, keep, monkeypatch, caplog):
        keep("VAULT")
        bad, good = make_ended_task(days_ago=32), make_ended_task(days_ago=31)
        for task in (bad, good):
            conceal(task, ADDRESS)

        def shred_or_fail(scope_id: Any) -> None:
            if scope_id == bad.pk:
                raise ValueError("unforeseen")
            shred(scope_id)

        monkeypatch.setattr("tasks_app.retention.shred", shred_or_fail)

        retention.tick()

        assert [key.scope_id for key in VaultKey.objects.all()] == [bad.pk]
        assert "the vault of a task could not be removed" in caplog.text

    @pytest.mark.django_db(transaction=True)
    def test_task_that_somebody_holds_is_left_for_the_next_tick(self, keep):
        keep("EVENTS")
        held, later = make_ended_task(days_ago=32), make_ended_task(days_ago=31)
        with psycopg.connect(**connection.get_connection_params()) as holder:
            lock = "SELECT 1 FROM tasks WHERE id = %s FOR KEY SHARE"
            holder.execute(lock, [held.pk])
            retention.tick()
            done = list(EventCheckpoint.objects.values_list("task_id", flat=True))
            assert done == [later.pk]

        retention.tick()
        assert EventCheckpoint.objects.filter(task_id=held.pk).exists()
        assert breaks() == []

    def test_reaper_does_it(self, keep):
        keep("EVENTS")
        make_ended_task(days_ago=31)

        reaper.tick(lambda queue, count: None)

        assert EventCheckpoint.objects.exists()
