"""A turn: what it may change, what it leaves behind, and that nothing else does."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.db.utils import InternalError

from octollm.errors import IllegalStateError
from tasks_app import chain
from tasks_app.models import Attempt, Step, Task, TaskEvent, TaskResult
from tasks_app.turn import Ending, task_turn
from tests.builders import (
    claim_of,
    done,
    failed,
    finish_step,
    make_planned_task,
    make_step,
    make_task,
    statuses,
)

pytestmark = pytest.mark.django_db


def close(task: Task, status: Task.Status = Task.Status.COMPLETED) -> None:
    with task_turn(task.pk) as turn:
        turn.close(status, result={"answer": "x"}, confidence=0.5)


def events(task: Task) -> list[TaskEvent]:
    return list(TaskEvent.objects.filter(task=task))


class TestSteps:
    def test_new_task_has_one_ready_step(self):
        assert statuses(make_task()) == {"plan": "ready"}

    def test_plan_makes_its_first_steps_ready(self):
        task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))

        assert statuses(task) == {
            "plan": "done",
            "a": "ready",
            "b": "waiting",
            "judge": "waiting",
        }
        assert (task.plan_version, task.stage) == (1, "executing")

    def test_child_waits_for_all_its_parents(self):
        task = make_planned_task(
            make_step("a"), make_step("b"), make_step("c", depends_on=("a", "b"))
        )

        assert finish_step(task, "a") == 0
        assert finish_step(task, "b") == 1
        assert statuses(task)["c"] == "ready"

    def test_judge_is_ready_when_no_work_is_open(self):
        task = make_planned_task(make_step("a"), make_step("b"))

        finish_step(task, "a")
        assert statuses(task)["judge"] == "waiting"
        finish_step(task, "b")

        assert statuses(task)["judge"] == "ready"

    def test_dependants_of_a_failed_step_are_skipped_to_the_last(self):
        task = make_planned_task(
            make_step("a"),
            make_step("b", depends_on=("a",)),
            make_step("c", depends_on=("b",)),
            make_step("d"),
        )
        claim = claim_of(task, "a")

        with task_turn(task.pk) as turn:
            turn.end_attempt(claim, failed())
            turn.skip_dependants()

        assert statuses(task) == {
            "plan": "done",
            "a": "failed",
            "b": "skipped",
            "c": "skipped",
            "d": "ready",
            "judge": "waiting",
        }

    def test_retry_waits_and_counts(self):
        task = make_task()
        claim = claim_of(task, "plan")

        with task_turn(task.pk) as turn:
            turn.end_attempt(
                claim,
                Ending(
                    status="ready",
                    outcome="retry",
                    delay_s=60,
                    error={"code": "x", "message": ""},
                ),
            )

        step: Any = Step.objects.get(task=task)
        assert (step.status, step.attempt_count, step.claim_id) == ("ready", 1, None)
        assert step.run_after > step.ready_at
        assert Attempt.objects.get(step=step).outcome == "retry"

    def test_retry_after_a_known_end_gets_a_new_request_id(self):
        task = make_task()
        first = claim_of(task, "plan")
        with task_turn(task.pk) as turn:
            turn.end_attempt(first, Ending(status="ready", outcome="retry"))

        assert claim_of(task, "plan").request_id != first.request_id

    def test_step_given_back_is_not_counted(self):
        task = make_task()
        claim = claim_of(task, "plan")

        with task_turn(task.pk) as turn:
            turn.end_attempt(
                claim, Ending(status="ready", outcome="released", is_counted=False)
            )

        assert Step.objects.get(task=task).attempt_count == 0

    def test_step_that_loses_its_worker_each_time_is_dead(self, settings):
        settings.OCTOLLM_MAX_ATTEMPTS = 2
        task = make_task()
        errors = []
        for _ in range(2):
            claim_of(task, "plan")
            with task_turn(task.pk) as turn:
                errors.append(turn.lose_attempt(Step.objects.get(task=task)))

        assert errors[0] is None
        assert errors[1] is not None
        assert errors[1]["code"] == "worker_lost"
        assert statuses(task) == {"plan": "dead"}

    def test_envelopes_are_held_and_given_back(self):
        task = make_planned_task(
            make_step("a", envelope_nano=500, envelope_tokens=7), make_step("b")
        )
        assert (task.held_nano, task.held_tokens) == (500, 7)

        finish_step(task, "a")

        task.refresh_from_db()
        assert (task.held_nano, task.held_tokens) == (0, 0)

    def test_a_settling_turn_needs_few_statements(self, django_assert_max_num_queries):
        task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
        claim = claim_of(task, "a")

        # lock, record, join, events, task, and the savepoint pair of the test itself
        with django_assert_max_num_queries(7), task_turn(task.pk) as turn:
            turn.end_attempt(claim, done({}))
            turn.advance()


class TestEnd:
    @pytest.mark.parametrize("status", Task.TERMINAL)
    def test_no_change_leaves_a_terminal_state(self, status):
        task = make_task()
        claim_of(task, "plan")
        close(task, status)

        for other in Task.TERMINAL:
            with pytest.raises(IllegalStateError):
                close(task, other)

        task.refresh_from_db()
        assert task.status == status

    def test_pending_task_cannot_complete(self):
        with pytest.raises(IllegalStateError):
            close(make_task())

    def test_end_cancels_what_is_open_and_frees_its_envelopes(self):
        task = make_planned_task(make_step("a", envelope_nano=9), make_step("b"))
        claim = claim_of(task, "a")

        close(task, Task.Status.FAILED)

        task.refresh_from_db()
        assert statuses(task) == {
            "plan": "done",
            "a": "cancelled",
            "b": "cancelled",
            "judge": "cancelled",
        }
        assert Attempt.objects.get(claim_id=claim.claim_id).outcome == "cancelled"
        assert task.held_nano == 0

    def test_output_after_the_end_is_not_recorded(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")
        close(task, Task.Status.CANCELLED)

        with task_turn(task.pk) as turn:
            assert not turn.end_attempt(claim, done({"late": True}))

    def test_result_and_confidence_are_kept(self):
        task = make_task()
        claim_of(task, "plan")

        close(task)

        result: Any = TaskResult.objects.get(task=task)
        assert (result.result_data, float(result.confidence)) == ({"answer": "x"}, 0.5)


class TestEvents:
    def test_every_change_is_numbered_without_a_gap(self):
        task = make_planned_task(make_step("a"))
        finish_step(task, "a")

        seen = events(task)

        assert [event.seq for event in seen] == list(range(1, len(seen) + 1))
        assert seen[0].type == "task.submitted"
        assert {"step.started", "step.done", "plan.made"} <= {e.type for e in seen}

    def test_chain_holds_from_first_to_last(self):
        task = make_planned_task(make_step("a"))
        finish_step(task, "a")
        task.refresh_from_db()

        assert chain.first_break(task.pk, events(task), head=task.event_head) is None

    @pytest.mark.parametrize("column", ["type", "data", "at"])
    def test_changed_event_breaks_the_chain(self, column):
        task = make_planned_task(make_step("a"))
        forged = TaskEvent.objects.get(task=task, seq=2)
        first = TaskEvent.objects.get(task=task, seq=1)
        new = {"type": "task.completed", "data": {"x": 1}, "at": first.at}
        TaskEvent.objects.filter(pk=forged.pk).update(**{column: new[column]})

        task.refresh_from_db()
        assert chain.first_break(task.pk, events(task), head=task.event_head) == 2

    def test_dropped_tail_is_noticed(self):
        task = make_planned_task(make_step("a"))
        count = len(events(task))
        TaskEvent.objects.get(task=task, seq=count).delete()

        task.refresh_from_db()
        broken = chain.first_break(task.pk, events(task), head=task.event_head)
        assert broken == count

    def test_failed_turn_leaves_no_event(self):
        task = make_task()
        before = len(events(task))

        with pytest.raises(IllegalStateError):
            self._break_off(task)

        assert len(events(task)) == before

    @staticmethod
    def _break_off(task: Task) -> None:
        with task_turn(task.pk) as turn:
            turn.event("task.nonsense")
            turn.close(Task.Status.COMPLETED, result={})


class TestDatabaseGuards:
    """What the database refuses even from SQL."""

    @pytest.mark.parametrize(
        "change",
        [
            {"status": "finished"},
            {"priority": "urgent"},
            {"status": "completed"},
            {"held_nano": -1},
            {"spent_tokens": -1},
            {"max_tokens": 0},
        ],
    )
    def test_impossible_task_is_refused(self, change):
        task = make_task()

        with pytest.raises((IntegrityError, InternalError)), transaction.atomic():
            Task.objects.filter(pk=task.pk).update(**change)

    @pytest.mark.parametrize(
        "change",
        [
            {"status": "running"},
            {"status": "unknown"},
            {"status": "done"},
            {"envelope_nano": -1},
            {"confidence": 1.5},
        ],
    )
    def test_impossible_step_is_refused(self, change):
        task = make_task()

        with pytest.raises(IntegrityError), transaction.atomic():
            Step.objects.filter(task=task).update(**change)

    def test_deleting_a_task_takes_everything_along(self):
        task = make_planned_task(make_step("a"))
        finish_step(task, "a")

        Task.objects.filter(pk=task.pk)._raw_delete("default")

        assert not Step.objects.filter(task_id=task.pk).exists()
        assert not TaskEvent.objects.filter(task_id=task.pk).exists()


def test_nothing_but_turn_writes_state():
    """Assignments of a status or a claim, and SQL that updates, stand in turn only."""
    root = Path(__file__).parents[2] / "tasks_app"
    allowed = {"turn.py", "task_row.py", "step_rows.py", "statements.py"}
    offenders = []
    for path in root.glob("*.py"):
        if path.name in allowed:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and _writes_state(node):
                offenders.append(f"{path.name}:{node.lineno}")
            if isinstance(node, ast.Attribute) and _assigns_state(node):
                offenders.append(f"{path.name}:{node.lineno}")
    assert offenders == []


STATE = {"status", "stage", "claim_id", "run", "plan_version", "event_seq"}


def _writes_state(call: ast.Call) -> bool:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
    return name in {"update", "set"} and any(k.arg in STATE for k in call.keywords)


def _assigns_state(node: ast.Attribute) -> bool:
    return isinstance(node.ctx, ast.Store) and node.attr in STATE
