"""What a plan would take: priced, compared with the budget, and nothing run."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any

import pytest

from planner.plan import Plan, PlannedStep
from tasks_app.amounts import Amount
from tasks_app.claims import claim_next
from tasks_app.models import Plan as PlanRow
from tasks_app.models import Step, Task, TaskEvent, TaskResult, Verdict
from tasks_app.pipeline import run_step
from tasks_app.quotes import quote_of, quoted
from tasks_app.results import Finding
from tests.builders import claim_of, make_task, statuses

REVIEWS = ["I love it.", "It is terrible and broke.", "Good value, works well."]
GOAL = "Analyze sentiment of reviews"


def step(step_id: str) -> PlannedStep:
    return PlannedStep(
        step_id=step_id,
        description="",
        arm="gate",
        capability="echo",
        depends_on=(),
        input={},
        criteria=(),
        estimated_cost=Decimal("0.25"),
        estimated_time=1.0,
    )


def plan(*steps: PlannedStep) -> Plan:
    return Plan(
        source="caller",
        steps=steps,
        result={},
        total_estimated_cost=Decimal("0.25") * len(steps),
        total_estimated_time=1.0,
        sum_estimated_time=1.0,
        total_estimated_time_p90=3.0,
    )


class TestQuote:
    def test_everything_counts_planning_steps_and_judging(self):
        task = Task(max_cost_usd=Decimal(1), spent_nano=10**8, spent_tokens=7)

        quote = quote_of(plan(step("a")), Amount(nano=10**7, tokens=9), task)

        assert quote.total_usd == Decimal("0.36")
        assert (quote.spent.tokens, quote.judging.tokens) == (7, 9)

    def test_slow_runs_are_never_faster_than_usual_ones(self):
        unseen = dataclasses.replace(plan(step("a")), total_estimated_time_p90=0.0)

        assert quote_of(unseen, Amount(), Task()).p90_s == 1

    @pytest.mark.parametrize(
        ("limits", "beyond"),
        [
            ({}, ()),
            ({"max_cost_usd": Decimal("0.2")}, ("cost",)),
            ({"max_tokens": 5}, ("tokens",)),
            ({"max_time_seconds": 2}, ("time",)),
        ],
    )
    def test_each_limit_that_may_be_exceeded_is_named(self, limits, beyond):
        quote = quote_of(plan(step("a")), Amount(tokens=9), Task(**limits))

        assert quote.beyond == beyond

    def test_result_claims_nothing_that_did_not_happen(self):
        made = plan(step("a"))
        finding = Finding(criterion="n >= 1", verdict="not_checked", evidence="why")

        data = quoted(made, quote_of(made, Amount(), Task()), findings=[finding]).data

        assert data["fully_verified"] is False
        assert data["partial"] is False
        assert (data["outputs"], data["reservations"]) == ({}, ["n >= 1"])
        assert "missing_steps" not in data


def planned_only(**fields: Any) -> Any:
    """Return a task that was planned and, as asked, nothing more."""
    task = make_task(plan_only=True, context={"reviews": REVIEWS}, **fields)
    Task.objects.filter(pk=task.pk).update(goal=GOAL)
    run_step(claim_of(task, "plan"))
    task.refresh_from_db()
    return task


@pytest.mark.django_db
class TestPlanOnly:
    def test_it_ends_completed_with_its_priced_plan(self):
        task = planned_only(acceptance_criteria=["coverage >= 0"])

        data: Any = TaskResult.objects.get(task=task).result_data
        assert (task.status, task.stage, task.error) == ("completed", "done", None)
        assert data["plan"]["source"] == "recipe"
        assert data["quote"]["fits_budget"] is True
        assert Decimal(data["quote"]["total_cost_usd"]) == 0
        assert data["criteria"][0]["verdict"] == "not_checked"

    def test_nothing_of_it_can_be_claimed_and_nothing_is_held(self):
        task = planned_only()

        assert set(statuses(task).values()) == {"done", "skipped"}
        assert claim_next(("default", "sandbox"), worker="tests") is None
        assert (task.held_nano, task.held_tokens) == (0, 0)

    def test_plan_has_its_rows_with_the_judge_last(self):
        task = planned_only()

        row = PlanRow.objects.get(task=task)
        last = Step.objects.get(pk=row.step_ids[-1])
        assert (row.version, task.plan_version, last.step_id) == (1, 1, "judge")

    def test_each_criterion_has_the_verdict_that_nobody_looked(self):
        task = planned_only(acceptance_criteria=["coverage >= 0", "n >= 1"])

        verdicts = Verdict.objects.filter(task=task).values_list("verdict", "evidence")
        assert set(verdicts) == {("not_checked", "The task was only planned.")}
        assert len(verdicts) == 2

    def test_event_says_where_the_plan_came_from_and_what_it_takes(self):
        task = planned_only()

        types = list(TaskEvent.objects.filter(task=task).values_list("type", flat=True))
        made: Any = TaskEvent.objects.get(task=task, type="plan.made").data
        assert types[-2:] == ["plan.made", "task.completed"]
        assert made["source"] == "recipe"
        assert made.keys() >= {"estimated_cost", "estimated_time"}

    def test_goal_that_cannot_be_planned_fails_as_ever(self):
        task = make_task(plan_only=True)
        Task.objects.filter(pk=task.pk).update(goal="Write a novel")

        run_step(claim_of(task, "plan"))

        task.refresh_from_db()
        assert task.error is not None
        assert (task.status, task.error["code"]) == ("failed", "needs_model")


GIVEN = {
    "steps": [
        {
            "step_id": "moods",
            "arm": "analyst",
            "capability": "sentiment",
            "input": {"texts": {"$from": "context.reviews"}},
        }
    ],
    "result": {"score": {"$from": "steps.moods.sentiment_score"}},
}


@pytest.mark.django_db
class TestGivenPlan:
    def test_it_is_used_in_place_of_planning(self, settings):
        # A model is configured that nobody could ask.
        settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
        settings.OCTOLLM_LLM_MODEL = "m"
        task = make_task(given_plan=GIVEN, context={"reviews": REVIEWS})

        run_step(claim_of(task, "plan"))

        assert PlanRow.objects.get(task=task).source == "caller"
        assert statuses(task) == {"plan": "done", "moods": "ready", "judge": "waiting"}

    def test_it_can_be_priced_without_being_run(self):
        task = planned_only(given_plan=GIVEN)

        data: Any = TaskResult.objects.get(task=task).result_data
        assert data["plan"]["source"] == "caller"
        assert data["plan"]["steps"][0]["step_id"] == "moods"

    def test_one_that_fits_no_more_fails_with_all_violations(self):
        task = make_task(given_plan=GIVEN, context={})

        run_step(claim_of(task, "plan"))

        task.refresh_from_db()
        assert task.error is not None
        assert task.error["code"] == "invalid_plan"
        assert any(each.startswith("P010") for each in task.error["violations"])
