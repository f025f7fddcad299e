"""The audit finds each way of tampering with rows that has no key."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone
from typer.testing import CliRunner, Result

from reflex.models import Screening
from tasks_app import audit, retention, seals
from tasks_app.audit import Selection, Tally
from tasks_app.commands import app
from tasks_app.deletion import delete_task
from tasks_app.models import Seal, Step, Task
from tests.builders import make_charge, make_ended_task, make_planned_task, make_step

pytestmark = pytest.mark.django_db

FORGED = "f" * 64


def breaks(
    selection: Selection | None = None,
) -> list[tuple[str, UUID | None, int | None]]:
    found = audit.verify(Tally(), selection or Selection())
    return [(each.kind, each.task_id, each.number) for each in found]


def sql(statement: str, *parameters: Any) -> None:
    """Change rows as somebody does who can write the database and has no key."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


def seal() -> Seal:
    """Seal what there is now."""
    made = seals.write_seal(lag_s=0, every_s=0)
    assert made is not None
    return made


def remove_events(settings: Any, task: Task) -> None:
    """Let retention put a checkpoint in the place of a task's events."""
    settings.OCTOLLM_RETAIN_EVENTS_DAYS = 30
    ended_at = timezone.now() - timedelta(days=31)
    Task.objects.filter(pk=task.pk).update(finished_at=ended_at)
    retention.tick()


class TestChains:
    @pytest.fixture
    def task(self) -> Task:
        return make_ended_task()

    def test_chains_of_open_and_ended_tasks_hold(self, task):
        make_planned_task(make_step("a"))

        assert breaks() == []

    @pytest.mark.parametrize(
        "change",
        [
            "data = '{\"step_ids\": []}'",
            "type = 'step.done'",
            "at = at + interval '1 second'",
            f"mac = '{FORGED}'",
        ],
    )
    def test_changed_event_is_found(self, task, change):
        sql(f"UPDATE task_events SET {change} WHERE task_id = %s AND seq = 2", task.pk)

        assert breaks() == [("event_changed", task.pk, 2)]

    def test_event_dropped_in_the_middle_is_found(self, task):
        sql("DELETE FROM task_events WHERE task_id = %s AND seq = 3", task.pk)

        assert breaks() == [("event_missing", task.pk, 3)]

    def test_events_dropped_and_renumbered_are_found(self, task):
        sql("DELETE FROM task_events WHERE task_id = %s AND seq = 3", task.pk)
        for seq in range(4, task.event_seq + 1):
            sql(
                "UPDATE task_events SET seq = seq - 1 WHERE task_id = %s AND seq = %s",
                task.pk,
                seq,
            )

        assert breaks() == [("event_changed", task.pk, 3)]

    def test_truncated_tail_is_found(self, task):
        sql("DELETE FROM task_events WHERE task_id = %s AND seq > 4", task.pk)

        assert breaks() == [("tail_missing", task.pk, 5)]

    def test_event_appended_without_the_key_is_found(self, task):
        seq = task.event_seq + 1
        sql(
            "INSERT INTO task_events (task_id, seq, type, at, data, mac) "
            "VALUES (%s, %s, 'task.completed', now(), '{}', %s)",
            *(task.pk, seq, FORGED),
        )
        sql(
            "UPDATE tasks SET event_seq = %s, event_head = %s WHERE id = %s",
            *(seq, FORGED, task.pk),
        )

        assert breaks() == [("event_changed", task.pk, seq)]

    @pytest.mark.parametrize(
        "change", [f"event_head = '{FORGED}'", "event_seq = event_seq - 1"]
    )
    def test_changed_head_is_found(self, task, change):
        sql(f"UPDATE tasks SET {change} WHERE id = %s", task.pk)

        assert breaks() == [("head_changed", task.pk, None)]

    def test_task_made_without_the_key_is_found(self, task):
        sql("DELETE FROM task_events WHERE task_id = %s", task.pk)
        sql("UPDATE tasks SET event_seq = 0, event_head = '' WHERE id = %s", task.pk)

        assert breaks() == [("no_events", task.pk, None)]

    def test_changed_status_is_found(self, task):
        sql("UPDATE tasks SET status = 'completed' WHERE id = %s", task.pk)

        assert breaks() == [("status_changed", task.pk, None)]

    def test_ended_task_that_is_made_to_look_open_is_found(self, task):
        sql(
            "UPDATE tasks SET status = 'pending', stage = 'queued', finished_at = NULL "
            "WHERE id = %s",
            task.pk,
        )

        assert breaks() == [("status_changed", task.pk, None)]

    def test_each_task_is_looked_at_for_itself(self, task, monkeypatch):
        monkeypatch.setattr(audit, "BATCH", 1)
        other = make_ended_task()
        for each in (task, other):
            sql("DELETE FROM task_events WHERE task_id = %s AND seq = 3", each.pk)
        make_ended_task()
        tally = Tally()

        found = {each.task_id for each in audit.verify(tally, Selection())}

        assert found == {task.pk, other.pk}
        assert (tally.tasks, tally.breaks) == (3, 2)


class TestCheckpoints:
    @pytest.fixture
    def task(self, settings) -> Task:
        task = make_ended_task()
        remove_events(settings, task)
        return task

    def test_chain_that_begins_at_a_checkpoint_holds(self, task):
        assert breaks() == []

    @pytest.mark.parametrize(
        "change",
        ["seq = seq - 1", f"mac = '{FORGED}'", "status = 'completed'", "at = now()"],
    )
    def test_changed_checkpoint_is_found(self, task, change):
        sql(f"UPDATE event_checkpoints SET {change} WHERE task_id = %s", task.pk)

        assert breaks() == [("checkpoint_forged", task.pk, None)]

    def test_checkpoint_of_another_task_is_found(self, task, settings):
        other = make_ended_task()
        remove_events(settings, other)
        sql("DELETE FROM event_checkpoints WHERE task_id = %s", task.pk)
        sql("UPDATE event_checkpoints SET task_id = %s", task.pk)

        assert set(breaks()) == {
            ("checkpoint_forged", task.pk, None),
            ("no_events", other.pk, None),
        }

    def test_dropped_checkpoint_is_found(self, task):
        sql("DELETE FROM event_checkpoints")

        assert breaks() == [("no_events", task.pk, None)]

    def test_status_changed_behind_a_checkpoint_is_found(self, task):
        sql("UPDATE tasks SET status = 'failed' WHERE id = %s", task.pk)

        assert breaks() == [("status_changed", task.pk, None)]


class TestTombstones:
    def test_deleted_task_breaks_nothing(self):
        task = make_ended_task()
        seal()
        delete_task(task.pk, deleted_by="tests")
        seal()

        assert breaks() == []

    @pytest.mark.parametrize(
        "change",
        [
            "deleted_by = 'somebody else'",
            "spent_nano = spent_nano + 1",
            "deleted_at = now()",
            f"mac = '{FORGED}'",
        ],
    )
    def test_changed_tombstone_is_found(self, change):
        task = make_ended_task()
        delete_task(task.pk, deleted_by="tests")
        sql(f"UPDATE tombstones SET {change}")

        assert breaks() == [("tombstone_forged", task.pk, None)]

    def test_task_that_came_back_is_found(self):
        task = make_ended_task()
        sql("CREATE TEMP TABLE kept ON COMMIT DROP AS SELECT * FROM tasks")
        sql("CREATE TEMP TABLE told ON COMMIT DROP AS SELECT * FROM task_events")
        delete_task(task.pk, deleted_by="tests")
        sql("INSERT INTO tasks SELECT * FROM kept")
        sql(
            "INSERT INTO task_events (task_id, seq, type, at, data, mac) "
            "SELECT task_id, seq, type, at, data, mac FROM told"
        )

        assert breaks() == [("undeleted", task.pk, None)]

    def test_dropped_tombstone_is_found(self):
        task = make_ended_task()
        delete_task(task.pk, deleted_by="tests")
        seal()
        sql("DELETE FROM tombstones")

        assert breaks() == [("vanished", task.pk, None)]


class TestSeals:
    def test_sealed_tasks_are_what_is_there(self, settings):
        open_task, ended = make_planned_task(make_step("a")), make_ended_task()
        made = seal()

        assert set(made.task_ids) == {open_task.pk, ended.pk}
        assert breaks() == []

    def test_task_that_vanished_is_found(self):
        kept, gone = make_ended_task(), make_ended_task()
        seal()
        sql("DELETE FROM tasks WHERE id = %s", gone.pk)

        assert breaks() == [("vanished", gone.pk, None)]
        assert breaks(Selection(task_id=gone.pk)) == [("vanished", gone.pk, None)]
        assert breaks(Selection(task_id=kept.pk)) == []

    def test_open_task_that_vanished_is_found(self):
        task = make_planned_task(make_step("a"))
        seal()
        sql("DELETE FROM tasks WHERE id = %s", task.pk)

        assert breaks() == [("vanished", task.pk, None)]

    def test_task_that_was_set_back_along_its_own_chain_is_found(self):
        # The chain alone holds: row and events agree on an earlier moment.
        task = make_ended_task()
        seal()
        sql("DELETE FROM task_events WHERE task_id = %s AND seq > 2", task.pk)
        sql(
            "UPDATE tasks SET event_seq = 2, status = 'pending', stage = 'queued', "
            "finished_at = NULL, event_head = "
            "(SELECT mac FROM task_events WHERE task_id = %s AND seq = 2) WHERE id = %s",
            *(task.pk, task.pk),
        )

        assert breaks() == [("rolled_back", task.pk, task.event_seq)]

    def test_sealed_events_may_become_a_checkpoint(self, settings):
        task = make_ended_task()
        seal()
        remove_events(settings, task)

        assert breaks() == []

    @pytest.mark.parametrize(
        "change",
        [
            "task_ids = task_ids[2:]",
            "until_at = until_at - interval '1 hour'",
            f"previous = '{FORGED}'",
            f"heads = ARRAY['{FORGED}']",
        ],
    )
    def test_changed_seal_is_found(self, change):
        make_ended_task()
        seal()
        sql(f"UPDATE audit_seals SET {change}")

        assert breaks() == [("seal_forged", None, 1)]

    def test_dropped_seal_is_found(self):
        for _ in range(3):
            make_ended_task()
            seal()
        sql("DELETE FROM audit_seals WHERE number = 2")

        assert breaks() == [("seal_missing", None, 2)]

    def test_seal_that_does_not_go_on_from_the_one_before_is_found(self):
        # As when the seals before were cut off and written anew.
        make_ended_task()
        seal()
        make_ended_task()
        second = seal()
        sql("DELETE FROM audit_seals WHERE number = 1")
        first = Seal.objects.get(number=2)
        first.number, first.previous = 1, ""
        first.sign()
        first.save(force_insert=True)

        assert breaks() == [("seal_unlinked", None, second.number)]

    def test_each_task_is_sealed_when_it_comes_and_when_it_ends(self):
        task = make_planned_task(make_step("a"))
        early = seal()
        assert seals.write_seal(lag_s=0, every_s=0) is None
        Task.objects.filter(pk=task.pk).update(
            status="cancelled", stage="done", finished_at=timezone.now()
        )
        late = seal()

        assert (early.task_ids, late.task_ids) == ([task.pk], [task.pk])
        assert (late.number, late.previous) == (2, early.signature)

    def test_young_tasks_wait_for_those_that_commit_late(self):
        make_ended_task()

        assert seals.write_seal() is None

    def test_one_seal_covers_a_bounded_number_and_the_next_goes_on(self, monkeypatch):
        monkeypatch.setattr(seals, "MAX_TASKS", 2)
        tasks = {make_planned_task(make_step("a")).pk for _ in range(5)}

        made = [seal() for _ in range(3)]

        sealed = [task_id for each in made for task_id in each.task_ids]
        assert (len(sealed), set(sealed)) == (5, tasks)
        assert seals.write_seal(lag_s=0, every_s=0) is None

    def test_two_leaders_write_one_seal(self, monkeypatch):
        make_ended_task()
        original = seals._changed

        def other_leader_first(*window: Any) -> Any:
            monkeypatch.setattr(seals, "_changed", original)
            seal()
            return original(*window)

        monkeypatch.setattr(seals, "_changed", other_leader_first)
        seals.write_seal(lag_s=0, every_s=0)

        assert Seal.objects.count() == 1
        assert breaks() == []


class TestNarrowed:
    def test_only_what_changed_lately_is_looked_at(self):
        old, young = make_ended_task(days_ago=9), make_ended_task()
        Task.objects.filter(pk=old.pk).update(
            created_at=timezone.now() - timedelta(days=9)
        )
        sql("DELETE FROM task_events WHERE seq = 3")

        recent = Selection(since=timezone.now() - timedelta(days=1))

        assert breaks(recent) == [("event_missing", young.pk, 3)]
        assert len(breaks()) == 2

    def test_seals_of_a_time_go_on_from_the_one_before_it(self):
        make_ended_task()
        seal()
        since = timezone.now()
        make_ended_task()
        seal()
        tally = Tally()

        assert list(audit.verify(tally, Selection(since=since))) == []
        assert tally.seals == 1


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that runs ``octollm audit`` on the tests' database."""
    monkeypatch.setattr("tasks_app.audit_commands.join_with_django", lambda _: None)

    def invoke(*words: object) -> Result:
        return CliRunner().invoke(app, ["audit", *map(str, words)])

    return invoke


class TestCommands:
    def test_whole_audit_ends_well_and_names_the_last_seal(self, run):
        make_ended_task()
        made = seal()

        result = run("verify")

        assert result.exit_code == 0
        assert "Checked 1 tasks" in result.output
        assert f"seal 1 is {made.signature}" in result.output
        assert "Breaks: 0." in result.output

    def test_break_is_printed_and_ends_in_a_failure(self, run):
        task = make_ended_task()
        sql("DELETE FROM task_events WHERE task_id = %s AND seq = 3", task.pk)

        result = run("verify", "--since", "1")

        assert result.exit_code == 1
        assert f"task {task.pk}: event_missing at 3: the event is" in result.output

    def test_json_has_a_line_for_each_break_and_the_sum_last(self, run):
        task = make_ended_task()
        sql("DELETE FROM task_events WHERE task_id = %s AND seq = 3", task.pk)

        lines = [
            json.loads(line) for line in run("verify", "--json").stdout.splitlines()
        ]

        assert lines[0] == {
            "kind": "event_missing",
            "task_id": str(task.pk),
            "number": 3,
        }
        assert (lines[1]["tasks"], lines[1]["breaks"]) == (1, 1)

    def test_task_that_nobody_knows_is_a_failure(self, run):
        result = run("verify", "--task", uuid4())

        assert result.exit_code == 1
        assert "unknown" in result.output

    def test_story_is_told_in_the_order_of_time(self, run):
        task = make_ended_task(goal="a rare goal")
        Screening.objects.create(
            scope_id=task.pk,
            checkpoint="request",
            action="redact",
            rule_ids=["pii.email"],
            ruleset_version="1",
            text_length=1,
            duration_ms=0.1,
        )
        step = Step.objects.get(task=task, step_id="plan")
        make_charge(step, purpose="planning", model="wise-7b", reply="the reply")

        result = run("show", task.pk)

        lines = result.stdout.splitlines()
        assert result.exit_code == 0
        assert lines == sorted(lines, key=lambda line: line[:23])
        for told in (
            "1 task.submitted priority=medium",
            "request: redact by pii.email",
            "version 1 from caller, 3 steps",
            "planning by wise-7b: held",
            "task.cancelled",
        ):
            assert told in result.stdout
        assert "a rare goal" not in result.stdout
        assert "the reply" not in result.stdout

    def test_story_of_a_deleted_task_is_its_tombstone(self, run):
        task = make_ended_task()
        delete_task(task.pk, deleted_by="carol")

        result = run("show", task.pk)

        assert "deleted by carol" in result.stdout
        assert len(result.stdout.splitlines()) == 1

    def test_story_tells_what_a_checkpoint_stands_for(self, run, settings):
        task = make_ended_task()
        remove_events(settings, task)

        result = run("show", task.pk)

        assert f"events 1 to {task.event_seq} were removed" in result.stdout

    def test_story_of_nobody_is_a_failure(self, run):
        assert run("show", uuid4()).exit_code == 1


def test_memory_does_not_grow_with_the_tasks(monkeypatch):
    monkeypatch.setattr(audit, "BATCH", 2)
    for _ in range(5):
        make_ended_task()
    asked = []
    batches = audit._batches

    def noted(selection: Selection) -> Any:
        for ids in batches(selection):
            asked.append(len(ids))
            yield ids

    monkeypatch.setattr(audit, "_batches", noted)

    assert list(audit.verify(Tally(), Selection())) == []
    assert asked == [2, 2, 1]
