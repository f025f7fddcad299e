"""A retry: what runs again, what never does, and what is refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone

from arms.contract import CallPrice, ModelCall, ModelUsage
from octollm.errors import (
    BudgetUsedUpError,
    IllegalStateError,
    NoNewPlanError,
)
from octollm.types import JSONObject
from tasks_app import reaper, runs
from tasks_app.claims import claim_next
from tasks_app.finish import close_cancelled, close_judged, close_stopped
from tasks_app.ledger import TaskMeter
from tasks_app.models import (
    Approval,
    Attempt,
    Charge,
    Plan,
    Step,
    Task,
    TaskEvent,
    TaskResult,
)
from tasks_app.pipeline import run_step
from tasks_app.steps_read import draft_result
from tasks_app.turn import task_turn
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

ERROR: JSONObject = {"code": "budget_exceeded", "message": "Too dear."}
PRICE = CallPrice(
    input_per_million=Decimal(2), output_per_million=Decimal(10), source="tests"
)


def call(**over: Any) -> ModelCall:
    fields: dict[str, Any] = {
        "purpose": "analysis",
        "model": "m",
        "request_hash": "h",
        "input_tokens": 1_000,
        "output_tokens": 500,
        "price": PRICE,
    }
    return ModelCall(**(fields | over))


def chain(**overrides: Any) -> Task:
    """Return a task of a → b, with c beside them."""
    return make_planned_task(
        make_step("a"),
        make_step("b", depends_on=("a",)),
        make_step("c"),
        **overrides,
    )


def stopped(task: Task, stop_reason: str, *, at: str = "b") -> Task:
    """Have a limit stop the task in the middle of a step."""
    claim = claim_of(task, at)
    with task_turn(task.pk) as turn:
        turn.end_attempt(claim, failed("budget_exceeded"))
        close_stopped(turn, ERROR, stop_reason=stop_reason)
    task.refresh_from_db()
    return task


def half_done(stop_reason: str = "budget_tokens", **overrides: Any) -> Task:
    """Return a task that was stopped in b, when a was done and c had not begun."""
    task = chain(**overrides)
    finish_step(task, "a")
    return stopped(task, stop_reason)


def run_all(task: Task) -> Task:
    """Run what is ready until nothing is, as a worker's thread does."""
    while (claim := claim_next(("default",), worker="tests")) is not None:
        run_step(claim)
    task.refresh_from_db()
    return task


def attempts(task: Task, step_id: str) -> int:
    return Attempt.objects.filter(step__task=task, step__step_id=step_id).count()


def step_of(task: Task, step_id: str) -> Step:
    return Step.objects.get(task=task, step_id=step_id)


def event_types(task: Task) -> list[str]:
    return list(TaskEvent.objects.filter(task=task).values_list("type", flat=True))


class TestRetry:
    def test_what_failed_runs_again_and_what_is_done_does_not(self):
        task = chain()
        finish_step(task, "a")
        finish_step(task, "b", failed())
        with task_turn(task.pk) as turn:
            turn.skip_dependants()
            close_stopped(turn, ERROR, stop_reason="work_failed")

        runs.retry_task(task.pk)
        task = run_all(task)

        assert (task.status, task.run) == ("completed", 2)
        assert [attempts(task, each) for each in "abc"] == [1, 2, 1]
        assert TaskResult.objects.filter(task=task).count() == 2

    def test_dead_and_skipped_steps_wait_again_with_all_their_attempts(self, settings):
        settings.OCTOLLM_MAX_ATTEMPTS = 1
        task = chain()
        finish_step(task, "c")
        claim_of(task, "a")
        Step.objects.filter(task=task, step_id="a").update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )
        reaper.take_back_lost_steps()
        finish_step(task, "judge", failed())
        with task_turn(task.pk) as turn:
            close_stopped(turn, ERROR, stop_reason="judge_failed")

        runs.retry_task(task.pk)

        assert statuses(task) == {
            "plan": "done",
            "a": "ready",
            "b": "waiting",
            "c": "done",
            "judge": "waiting",
        }
        assert step_of(task, "a").attempt_count == 0
        assert step_of(task, "a").error is None
        (first,) = Attempt.objects.filter(step=step_of(task, "a"))
        assert first.outcome == "lost"

    def test_lost_workers_invocation_keeps_its_id(self, settings):
        settings.OCTOLLM_MAX_ATTEMPTS = 1
        task = make_planned_task(make_step("a"))
        lost = claim_of(task, "a")
        Step.objects.filter(task=task, step_id="a").update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )
        reaper.take_back_lost_steps()

        runs.retry_task(task.pk)

        again = claim_of(task, "a")
        assert (again.request_id, again.is_new_request) == (lost.request_id, False)

    def test_plan_that_failed_is_made_again(self):
        task = make_task(context={})
        finish_step(task, "plan", failed("needs_model"))
        with task_turn(task.pk) as turn:
            close_stopped(turn, ERROR, stop_reason="plan_failed")
        Task.objects.filter(pk=task.pk).update(
            goal="Analyze sentiment of reviews", context={"reviews": ["I love it."]}
        )

        runs.retry_task(task.pk)
        task = run_all(task)

        assert (task.status, task.plan_version) == ("completed", 1)
        assert attempts(task, "plan") == 2

    def test_judge_that_failed_judges_again(self):
        task = make_planned_task(make_step("a"))
        finish_step(task, "a")
        finish_step(task, "judge", failed())
        with task_turn(task.pk) as turn:
            close_stopped(turn, ERROR, stop_reason="judge_failed")

        runs.retry_task(task.pk)
        task = run_all(task)

        assert task.status == "completed"
        assert (attempts(task, "a"), attempts(task, "judge")) == (1, 2)

    def test_part_that_was_judged_without_the_rest_is_judged_anew_with_it(self):
        task = chain(acceptance_criteria=["confidence at least 0.5"])
        finish_step(task, "a")
        claim = claim_of(task, "b")
        with task_turn(task.pk) as turn:
            turn.end_attempt(claim, failed())
            turn.skip_dependants()
            turn.advance()
        task = run_all(task)
        assert (task.status, statuses(task)["judge"]) == ("failed", "done")

        runs.retry_task(task.pk)
        task = run_all(task)

        assert task.status == "completed"
        assert statuses(task) == {
            "plan": "done",
            "a": "done",
            "b": "done",
            "c": "done",
            "judge": "superseded",
            "judge-2": "done",
        }
        second = Plan.objects.get(task=task, version=2)
        assert (second.reason, second.run) == ("retry", 2)
        assert [attempts(task, each) for each in ("a", "b", "judge")] == [1, 2, 1]

    def test_events_say_what_happened_and_their_chain_holds(self):
        task = half_done("deadline")

        runs.retry_task(task.pk)

        assert event_types(task)[-3:] == [
            "task.reopened",
            "step.reopened",
            "step.ready",
        ]

    def test_each_run_has_a_clock_of_its_own(self):
        task = half_done("deadline", max_time_seconds=60)
        Task.objects.filter(pk=task.pk).update(
            deadline_at=timezone.now() - timedelta(hours=1)
        )

        runs.retry_task(task.pk)

        task.refresh_from_db()
        assert task.deadline_at is not None
        assert task.deadline_at > timezone.now() + timedelta(seconds=50)

    def test_task_that_nobody_started_in_time_begins(self):
        task = make_task()
        with task_turn(task.pk) as turn:
            close_stopped(turn, ERROR, stop_reason="queue_ttl")

        runs.retry_task(task.pk)

        assert statuses(task) == {"plan": "ready"}

    def test_envelopes_are_held_again_the_judges_too(self, settings):
        settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
        settings.OCTOLLM_LLM_MODEL = "wise-7b"
        settings.OCTOLLM_LLM_PRICE_INPUT = Decimal(2)
        settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal(10)
        dear = make_step("a", estimated_cost=Decimal("0.3"))
        task = make_planned_task(dear, acceptance_criteria=["Be short"])
        finish_step(task, "a", failed())
        with task_turn(task.pk) as turn:
            close_stopped(turn, ERROR, stop_reason="work_failed")
        assert Task.objects.get(pk=task.pk).held_nano == 0

        runs.retry_task(task.pk)

        task.refresh_from_db()
        assert step_of(task, "judge").envelope_nano == 20_000_000
        assert task.held_nano == 300_000_000 + 20_000_000
        assert task.held_tokens == step_of(task, "judge").envelope_tokens > 0

    def test_what_was_paid_for_is_replayed(self):
        task = make_planned_task(make_step("a"))
        claim = claim_of(task, "a")
        meter = TaskMeter(claim)
        usage = ModelUsage(input_tokens=10, output_tokens=5)
        meter.settle(meter.reserve(call()), usage, "the reply")
        with task_turn(task.pk) as turn:
            turn.end_attempt(claim, failed())
            close_stopped(turn, ERROR, stop_reason="work_failed")

        runs.retry_task(task.pk)

        recorded: Any = TaskMeter(claim_of(task, "a")).replay("h")
        assert recorded.reply == "the reply"
        assert Charge.objects.filter(task=task).count() == 1


class TestLateWriters:
    def test_worker_of_the_old_run_can_record_nothing(self):
        task = make_planned_task(make_step("a"), make_step("b"))
        old = claim_of(task, "a")
        stopped(task, "deadline")

        runs.retry_task(task.pk)
        new = claim_of(task, "a")
        with task_turn(task.pk) as turn:
            assert not turn.end_attempt(old, done({"value": "old"}))
        with task_turn(task.pk) as turn:
            assert turn.end_attempt(new, done({"value": "new"}))

        assert (old.run, new.run) == (1, 2)
        assert step_of(task, "a").output == {"value": "new"}
        assert Attempt.objects.get(claim_id=old.claim_id).late_at is not None

    def test_call_of_the_old_run_is_presumed_and_its_true_figure_counts(self):
        task = make_planned_task(make_step("a"), make_step("b"))
        meter = TaskMeter(claim_of(task, "a"))
        charge_id = meter.reserve(call())
        stopped(task, "deadline")

        runs.retry_task(task.pk)
        assert Charge.objects.get(pk=charge_id).state == "presumed"
        meter.settle(charge_id, ModelUsage(input_tokens=10, output_tokens=5), "late")

        task.refresh_from_db()
        assert Charge.objects.get(pk=charge_id).state == "corrected"
        assert (task.spent_tokens, task.held_tokens) == (15, 0)


class TestRefusedRetry:
    @pytest.mark.parametrize("status", ["completed", "cancelled", "processing"])
    def test_only_a_failed_task_is_retried(self, status):
        task = chain()
        if status == "completed":
            run_all(task)
        elif status == "cancelled":
            with task_turn(task.pk) as turn:
                close_cancelled(turn)

        with pytest.raises(IllegalStateError, match=status):
            runs.retry_task(task.pk)

    @pytest.mark.parametrize("reason", ["budget_cost", "budget_tokens"])
    def test_used_up_budget_is_to_be_raised_first(self, reason):
        task = half_done(reason)

        with pytest.raises(BudgetUsedUpError, match="/budget"):
            runs.retry_task(task.pk)

        assert Task.objects.get(pk=task.pk).run == 1

    @pytest.mark.parametrize(
        "spent", [{"nano": 10**9, "tokens": 0}, {"nano": 0, "tokens": 10_000}]
    )
    def test_budget_that_is_spent_is_used_up_whatever_stopped_the_task(self, spent):
        task = chain()
        with task_turn(task.pk) as turn:
            turn.spend(**spent)
            close_stopped(turn, ERROR, stop_reason="work_failed")

        with pytest.raises(BudgetUsedUpError):
            runs.retry_task(task.pk)

    def test_plan_that_was_never_approved_does_not_run_by_a_retry(self):
        task = chain()
        with task_turn(task.pk) as turn:
            close_stopped(turn, ERROR, stop_reason="work_failed")
        Approval.objects.create(
            task=task,
            plan_version=1,
            state="withdrawn",
            reason="asked",
            estimated_cost=0,
            expires_at=timezone.now(),
            decided_at=timezone.now(),
        )

        with pytest.raises(IllegalStateError, match="approved"):
            runs.retry_task(task.pk)

        Approval.objects.filter(task=task).update(state="approved")
        runs.retry_task(task.pk)
        assert run_all(task).status == "completed"

    @pytest.mark.parametrize("part", ["results", "vault"])
    def test_task_that_retention_has_emptied_does_not_go_on(self, part):
        task = half_done("deadline")
        Task.objects.filter(pk=task.pk).update(removed_parts=["events", part])

        with pytest.raises(IllegalStateError, match="Retention"):
            runs.retry_task(task.pk)

        assert Task.objects.get(pk=task.pk).run == 1

    def test_of_two_at_once_one_wins(self, transactional_db):
        task = half_done("deadline")

        def retry(_: int) -> str:
            try:
                runs.retry_task(task.pk)
            except IllegalStateError:
                return "refused"
            finally:
                connections.close_all()
            return "done"

        with ThreadPoolExecutor(4) as pool:
            outcomes = sorted(pool.map(retry, range(4)))

        assert outcomes == ["done", "refused", "refused", "refused"]
        assert Task.objects.get(pk=task.pk).run == 2


class TestUnmetCriteria:
    """Every step is done, and still something is missing: another plan is wanted."""

    def unmet(self, *, source: str = "model", **overrides: Any) -> Task:
        task = make_planned_task(
            make_step("a"), acceptance_criteria=["Be short", "Be kind"], **overrides
        )
        Plan.objects.filter(task=task).update(source=source)
        task.refresh_from_db()
        verdicts: JSONObject = {
            "verdicts": [
                {"criterion": "Be short", "verdict": "met"},
                {"criterion": "Be kind", "verdict": "not_met", "method": "count"},
            ]
        }
        finish_step(task, "a")
        finish_step(task, "judge")
        with task_turn(task.pk) as turn:
            close_judged(turn, draft_result(task), verdicts, task=task)
        return task

    @pytest.fixture
    def _model(self, settings: Any) -> None:
        settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
        settings.OCTOLLM_LLM_MODEL = "wise-7b"

    @pytest.mark.usefixtures("_model")
    def test_planner_is_asked_for_what_they_lack(self):
        task = self.unmet()

        runs.retry_task(task.pk)

        step = step_of(task, "plan-2")
        assert (step.status, step.kind) == ("ready", "plan")
        (unmet,) = step.input["unmet"]
        assert (unmet["criterion"], unmet["verdict"]) == (1, "not_met")
        assert statuses(task)["a"] == "done"

    @pytest.mark.usefixtures("_model")
    def test_planner_may_begin_in_the_new_run(self):
        task = self.unmet()

        runs.retry_task(task.pk)
        claim_of(task, "plan-2")

        assert Task.objects.get(pk=task.pk).stage == "planning"

    def test_without_a_model_there_is_no_other_plan(self):
        task = self.unmet()

        with pytest.raises(NoNewPlanError):
            runs.retry_task(task.pk)

        kept = Task.objects.get(pk=task.pk)
        assert (kept.status, kept.run) == ("failed", 1)

    @pytest.mark.usefixtures("_model")
    @pytest.mark.parametrize(
        "overrides", [{"source": "caller"}, {"constraints": ["No models"]}]
    )
    def test_where_no_model_may_plan_there_is_none_either(self, overrides):
        task = self.unmet(**overrides)

        with pytest.raises(NoNewPlanError):
            runs.retry_task(task.pk)
