"""The tables of legal changes: what they say, and that every writer keeps to them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import product
from pathlib import Path
from uuid import uuid4

import pytest

from octollm.errors import IllegalStateError
from tasks_app import states
from tasks_app.models import Approval, Attempt, Step, Task
from tasks_app.turn import Ending, task_turn
from tests.builders import (
    claim_of,
    done,
    failed,
    finish_step,
    make_plan,
    make_planned_task,
    make_step,
    make_task,
    statuses,
)

PAGE = Path(__file__).parents[2] / "docs/state-machine.md"
KINDS = [
    (states.TASK, Task.Status),
    (states.STAGE, Task.Stage),
    (states.STEP, Step.Status),
    (states.ATTEMPT, Attempt.Outcome),
]


def test_page_is_what_the_tables_say():
    assert PAGE.read_text() == states.document()


@pytest.mark.parametrize(("machine", "choices"), KINDS)
def test_tables_name_every_state_of_the_rows_and_no_other(machine, choices):
    named = {state for move in machine.moves for state in (move.before, move.after)}

    assert named == set(choices.values)


@pytest.mark.parametrize(("machine", "choices"), KINDS)
def test_what_is_not_in_the_table_is_refused(machine, choices):
    allowed = {(move.before, move.after) for move in machine.moves}

    for before, after in set(product(choices.values, repeat=2)) - allowed:
        with pytest.raises(IllegalStateError):
            machine.require(before, after)


def test_only_a_new_run_leaves_a_terminal_state():
    leaving = [m for m in states.TASK.moves if m.before in Task.TERMINAL]

    assert [(m.before, m.after) for m in leaving] == [("failed", "processing")]


@pytest.mark.django_db
class TestRows:
    """Every statement that changes steps, tried on a step in every status."""

    @staticmethod
    def task_with(status: str) -> tuple[Task, Step]:
        """Return a task with a step that stands in a status, by a raw write."""
        task = make_planned_task(make_step("a"))
        step = Step.objects.get(task=task, step_id="a")
        is_running = status == Step.Status.RUNNING
        Step.objects.filter(pk=step.pk).update(
            status=status,
            claim_id=uuid4() if is_running else None,
            lease_until="2030-01-01T00:00Z" if is_running else None,
            output={} if status == Step.Status.DONE else None,
        )
        step.refresh_from_db()
        return task, step

    @pytest.mark.parametrize("status", Step.Status.values)
    def test_closing_cancels_what_the_table_lets_it(self, status: str):
        task, _ = self.task_with(status)

        with task_turn(task.pk) as turn:
            turn.close(Task.Status.FAILED, result={})

        is_open = states.STEP.allows(status, "cancelled")
        assert statuses(task)["a"] == ("cancelled" if is_open else status)

    @pytest.mark.parametrize("status", Step.Status.values)
    def test_reopening_takes_up_what_the_table_lets_it(self, status: str):
        task, step = self.task_with(status)

        with task_turn(task.pk) as turn:
            turn.reopen_steps([step])

        is_taken = states.STEP.allows(status, "waiting")
        assert statuses(task)["a"] == ("waiting" if is_taken else status)

    @pytest.mark.parametrize("status", Step.Status.values)
    def test_next_plan_supersedes_what_the_table_lets_it(self, status: str):
        task, _ = self.task_with(status)

        if status == Step.Status.RUNNING:
            with pytest.raises(IllegalStateError), task_turn(task.pk) as turn:
                turn.add_plan(make_plan(), [make_step("b")])
            return
        with task_turn(task.pk) as turn:
            turn.add_plan(make_plan(), [make_step("b")])

        assert statuses(task)["a"] == "superseded"

    @pytest.mark.parametrize("status", Step.Status.values)
    def test_only_a_ready_step_is_claimed(self, status: str):
        task, step = self.task_with(status)

        with task_turn(task.pk) as turn:
            claim = turn.start_step(step, worker="tests")

        assert (claim is not None) == (status == Step.Status.READY)

    @pytest.mark.parametrize(
        ("status", "outcome"), [("waiting", "retry"), ("done", "running")]
    )
    def test_attempt_cannot_end_as_the_table_does_not_say(
        self, status: str, outcome: str
    ):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")

        with pytest.raises(IllegalStateError), task_turn(task.pk) as turn:
            turn.end_attempt(claim, Ending(status=status, outcome=outcome))

        assert statuses(task)["a"] == "running"


@pytest.mark.django_db
class TestRuns:
    def test_failed_task_goes_on_in_another_run(self):
        task = make_planned_task(make_step("a"), make_step("b"))
        finish_step(task, "a")
        finish_step(task, "b", failed())
        with task_turn(task.pk) as turn:
            turn.close(Task.Status.FAILED, result={}, stop_reason="work_failed")

        with task_turn(task.pk) as turn:
            turn.reopen(reason="retry")
            turn.reopen_steps(list(Step.objects.filter(task=task)))
            assert turn.advance() == 1

        task.refresh_from_db()
        assert statuses(task) == {
            "plan": "done",
            "a": "done",
            "b": "ready",
            "judge": "waiting",
        }
        assert (task.status, task.run, task.finished_at) == ("processing", 2, None)

    @pytest.mark.parametrize("status", [Task.Status.COMPLETED, Task.Status.CANCELLED])
    def test_no_other_end_is_left(self, status: Task.Status):
        task = make_planned_task(make_step("a"))
        with task_turn(task.pk) as turn:
            turn.close(status, result={})

        with pytest.raises(IllegalStateError), task_turn(task.pk) as turn:
            turn.reopen(reason="retry")

    def test_clock_stands_while_a_person_decides(self):
        task = make_task()
        claim = claim_of(task, "plan")
        approval = Approval(
            digest="d",
            reason="asked",
            estimated_cost=0,
            expires_at=datetime(2030, 1, 1, tzinfo=UTC),
        )

        with task_turn(task.pk) as turn:
            turn.end_attempt(claim, done({}))
            turn.add_plan(make_plan(), [make_step("a")], approval=approval)
        stopped = Task.objects.get(pk=task.pk)
        with task_turn(task.pk) as turn:
            turn.end_approval(approval, Approval.State.APPROVED, by="tests")

        task.refresh_from_db()
        assert stopped.clock_stopped_at is not None
        assert stopped.clock_started_at is None
        assert (task.stage, task.clock_stopped_at) == ("executing", None)
        assert task.deadline_at is not None
        assert stopped.deadline_at is not None
        assert task.deadline_at > stopped.deadline_at

    def test_record_that_comes_too_late_is_noted_at_its_attempt(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")
        with task_turn(task.pk) as turn:
            turn.lose_attempt(Step.objects.get(pk=claim.step.pk))

        with task_turn(task.pk) as turn:
            assert not turn.end_attempt(claim, done({}))

        attempt = Attempt.objects.get(claim_id=claim.claim_id)
        assert attempt.outcome == "lost"
        assert attempt.late_at is not None
        assert statuses(task)["a"] == "ready"
