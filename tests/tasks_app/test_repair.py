"""Each fault is made by a raw write, found, left alone by a dry run, and mended."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from typer.testing import CliRunner

from octollm.cli import application
from tasks_app import chain
from tasks_app.models import Approval, Attempt, Charge, Step, Task, TaskEvent
from tasks_app.repair import RULES, repair
from tasks_app.turn import task_turn
from tests.builders import (
    claim_of,
    done,
    finish_step,
    make_plan,
    make_planned_task,
    make_step,
    make_task,
    statuses,
)

pytestmark = pytest.mark.django_db


def write(sql: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)


def open_step_of_an_ended_task() -> Task:
    task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.FAILED, result={})
    write(
        "UPDATE steps SET status = 'ready' WHERE task_id = %s AND step_id = 'a'",
        task.pk,
    )
    return task


def attempt_without_a_claim() -> Task:
    task = make_planned_task(make_step("a"))
    claim_of(task, "a")
    write(
        "UPDATE steps SET status = 'ready', claim_id = NULL "
        "WHERE task_id = %s AND step_id = 'a'",
        task.pk,
    )
    return task


def lost_charge() -> Task:
    task = make_planned_task(make_step("a"))
    step = Step.objects.get(task=task, step_id="a")
    Charge.objects.create(
        task=task,
        step=step,
        attempt=0,
        purpose="analysis",
        model="m",
        request_hash="h",
        held_nano=10,
        held_tokens=5,
        price_input=1,
        price_output=1,
        price_source="tests",
    )
    write("UPDATE charges SET created_at = created_at - interval '1 hour'")
    write("UPDATE tasks SET held_nano = 10, held_tokens = 5 WHERE id = %s", task.pk)
    return task


def missed_readiness() -> Task:
    task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
    finish_step(task, "a")
    write(
        "UPDATE steps SET status = 'waiting' WHERE task_id = %s AND step_id = 'b'",
        task.pk,
    )
    return task


def stuck() -> Task:
    task = make_planned_task(make_step("a"))
    write(
        "UPDATE steps SET status = 'failed' WHERE task_id = %s AND kind <> 'plan'",
        task.pk,
    )
    return task


def approval_without_a_question() -> Task:
    task = make_task()
    approval = Approval(
        digest="d",
        reason="asked",
        estimated_cost=0,
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    claim = claim_of(task, "plan")
    with task_turn(task.pk) as turn:
        turn.end_attempt(claim, done({}))
        turn.add_plan(make_plan(), [make_step("a")], approval=approval)
    write("DELETE FROM approvals WHERE task_id = %s", task.pk)
    return task


def clock_stands() -> Task:
    task = make_planned_task(make_step("a"))
    write(
        "UPDATE tasks SET clock_stopped_at = clock_timestamp(), clock_started_at = NULL "
        "WHERE id = %s",
        task.pk,
    )
    return task


def ledger() -> Task:
    task = make_planned_task(make_step("a", envelope_nano=7))
    write("UPDATE tasks SET held_nano = 99, spent_tokens = 3 WHERE id = %s", task.pk)
    return task


FAULTS: dict[str, Callable[[], Task]] = {
    each.__name__: each
    for each in (
        *(open_step_of_an_ended_task, attempt_without_a_claim, lost_charge),
        *(missed_readiness, stuck, approval_without_a_question, clock_stands, ledger),
    )
}


def found() -> list[tuple[str, object]]:
    return [(fault.rule.name, fault.task_id) for fault in repair(dry_run=True)]


def test_every_rule_is_tried_here():
    assert {rule.name for rule in RULES} == set(FAULTS)


def test_what_runs_as_it_should_is_left_alone():
    task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
    finish_step(task, "a")
    claim_of(task, "b")

    assert list(repair(dry_run=False)) == []


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_found_and_a_dry_run_leaves_it(name: str):
    task = FAULTS[name]()

    assert (name, task.pk) in found()
    assert (name, task.pk) in found()


@pytest.mark.parametrize("name", FAULTS)
def test_fault_is_mended_with_an_event_and_for_good(name: str):
    task = FAULTS[name]()

    assert (name, task.pk) in [(f.rule.name, f.task_id) for f in repair(dry_run=False)]

    assert found() == []
    task.refresh_from_db()
    events = list(TaskEvent.objects.filter(task=task))
    assert {"rule": name} in [e.data for e in events if e.type == "task.repaired"]
    assert chain.first_break(task.pk, events, head=task.event_head) is None


def test_task_that_can_go_on_goes_on():
    task = missed_readiness()

    list(repair(dry_run=False))

    assert statuses(task)["b"] == "ready"


def test_task_that_cannot_go_on_ends_with_what_it_has():
    task = stuck()

    list(repair(dry_run=False))

    task.refresh_from_db()
    assert (task.status, task.stop_reason) == ("failed", "stuck")


def test_task_without_the_yes_it_needs_never_runs():
    task = approval_without_a_question()

    list(repair(dry_run=False))

    task.refresh_from_db()
    assert (task.status, task.stop_reason) == ("failed", "approval_lost")
    assert statuses(task)["a"] == "cancelled"


def test_ledger_is_what_its_rows_say():
    task = ledger()

    list(repair(dry_run=False))

    task.refresh_from_db()
    assert (task.held_nano, task.spent_tokens) == (7, 0)
    event = TaskEvent.objects.get(task=task, type="ledger.repaired")
    assert (event.data["held_nano"], event.data["spent_tokens"]) == (-92, -3)


def test_orphaned_attempt_is_lost():
    task = attempt_without_a_claim()

    list(repair(dry_run=False))

    assert Attempt.objects.get(step__task=task, step__step_id="a").outcome == "lost"


def test_fault_that_is_gone_by_the_time_of_the_lock_is_not_mended(monkeypatch):
    task = make_planned_task(make_step("a"))
    monkeypatch.setattr("tasks_app.repair._found", lambda rule: [task.pk])

    assert list(repair(dry_run=False)) == []


class TestCommand:
    @pytest.fixture(autouse=True)
    def _joined(self, monkeypatch):
        """Work on the test's own database: the command would join a running system."""
        monkeypatch.setattr(
            "tasks_app.repair_commands.join_with_django", lambda data_dir: None
        )

    def test_dry_run_tells_and_fails(self):
        task = ledger()

        run = CliRunner().invoke(application(), ["repair", "--dry-run"])

        assert run.exit_code == 1
        assert f"found: task {task.pk}" in run.output
        assert found()

    def test_mending_tells_what_it_did(self):
        ledger()

        run = CliRunner().invoke(application(), ["repair", "--json"])

        assert run.exit_code == 0
        assert '"mended": true' in run.output
        assert found() == []

    def test_nothing_amiss_is_said(self):
        run = CliRunner().invoke(application(), ["repair", "--dry-run"])

        assert (run.exit_code, "nothing is amiss" in run.output) == (0, True)
