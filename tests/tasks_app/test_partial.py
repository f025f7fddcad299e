"""What a result says of a task that stopped short, whatever stopped it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from arms.registry import get_arm
from octollm.types import JSONObject
from planner import observed
from planner.observed import Observed
from tasks_app.finish import (
    close_cancelled,
    close_failed,
    close_judged,
    close_stopped,
)
from tasks_app.models import Step, Task, TaskResult
from tasks_app.steps_read import draft_result
from tasks_app.turn import task_turn
from tests.builders import (
    claim_of,
    failed,
    finish_step,
    make_planned_task,
    make_step,
    make_task,
)
from tests.planner.observing import tell

pytestmark = pytest.mark.django_db

ERROR: JSONObject = {"code": "budget_exceeded", "message": "Too dear."}


@pytest.fixture
def priced_model(settings: Any) -> None:
    """Name a model of 2 and 10 USD per million tokens; nobody asks it here."""
    settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
    settings.OCTOLLM_LLM_MODEL = "wise-7b"
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal(2)
    settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal(10)


def chain(**overrides: Any) -> Task:
    """Return a task of a → b and c; the gate's steps take 0.1 s by the catalogue."""
    return make_planned_task(
        make_step("a"),
        make_step("b", depends_on=("a",)),
        make_step("c"),
        **overrides,
    )


def stop(task: Task, stop_reason: str = "budget_cost") -> Any:
    with task_turn(task.pk) as turn:
        close_stopped(turn, ERROR, stop_reason=stop_reason)
    return data_of(task)


def judged(task: Task, verdict: str) -> Any:
    """Have the judge say of the one criterion what is given, and end the task."""
    task.refresh_from_db()
    item: JSONObject = {
        "criterion": "Be short",
        "verdict": verdict,
        "evidence": "It has 9 words.",
    }
    finish_step(task, "judge")
    with task_turn(task.pk) as turn:
        close_judged(turn, draft_result(task), {"verdicts": [item]}, task=task)
    return data_of(task)


def data_of(task: Task) -> Any:
    return TaskResult.objects.get(task=task).result_data


class TestStopped:
    @pytest.mark.parametrize(
        ("reason", "limit"),
        [
            ("budget_cost", "cost"),
            ("budget_tokens", "tokens"),
            ("deadline", "time"),
            ("queue_ttl", None),
        ],
    )
    def test_reason_names_the_limit_of_the_budget(self, reason, limit):
        task = chain()
        finish_step(task, "a")

        stopped = stop(task, reason)["stopped"]

        assert (stopped["reason"], stopped["limit"]) == (reason, limit)
        assert stopped["at_stage"] == "executing"

    def test_what_was_spent_by_then_is_told(self):
        task = chain()
        with task_turn(task.pk) as turn:
            turn.spend(nano=1_500, tokens=42)
        claim_of(task, "a")

        spent = stop(task)["stopped"]["spent_at_stop"]

        assert (spent["cost_usd"], spent["tokens"]) == ("0.000001500", 42)
        assert spent["seconds"] >= 0

    def test_cancelled_task_says_so(self):
        task = chain()
        finish_step(task, "a")
        with task_turn(task.pk) as turn:
            close_cancelled(turn)

        data = data_of(task)

        assert data["stopped"]["reason"] == "cancelled"
        assert data["outputs"] == {"a": {"value": "a"}}
        assert data["missing_steps"] == ["b", "c"]

    def test_failed_planning_has_no_missing_steps(self):
        task = make_task()
        claim_of(task, "plan")
        with task_turn(task.pk) as turn:
            close_failed(turn, ERROR, stop_reason="plan_failed")

        data = data_of(task)

        assert (data["stopped"]["at_stage"], data["missing_steps"]) == ("planning", [])

    def test_completed_task_has_none_of_it(self):
        task = chain(acceptance_criteria=["Be short"])
        for step_id in ("a", "b", "c"):
            finish_step(task, step_id)

        data = judged(task, "met")

        assert data.keys().isdisjoint({"stopped", "unmet_criteria", "cost_to_finish"})


class TestUnmetCriteria:
    def test_nothing_is_met_before_judging(self):
        data = stop(chain(acceptance_criteria=["Be short"]))

        (unmet,) = data["unmet_criteria"]
        assert (unmet["criterion"], unmet["verdict"]) == ("Be short", "not_checked")
        assert "budget_cost" in unmet["why"]

    def test_judge_says_why(self):
        task = chain(acceptance_criteria=["Be short"])
        for step_id in ("a", "b", "c"):
            finish_step(task, step_id)

        (unmet,) = judged(task, "not_met")["unmet_criteria"]

        assert (unmet["verdict"], unmet["why"]) == ("not_met", "It has 9 words.")

    def test_result_key_of_a_plan_cannot_stand_in_their_place(self):
        task = chain()
        claim_of(task, "a")
        with task_turn(task.pk) as turn:
            data = stop_with_key(turn, task, "stopped")

        assert data["stopped"]["reason"] == "budget_cost"


def stop_with_key(turn: Any, task: Task, key: str) -> Any:
    task.plans.update(result={key: {"$from": "goal"}})
    close_stopped(turn, ERROR, stop_reason="budget_cost")
    return data_of(task)


class TestCostToFinish:
    def test_open_steps_are_counted_along_their_longest_chain(self):
        task = chain()

        cost = stop(task)["cost_to_finish"]

        # a, then b; c beside them; the judge takes what its entry says.
        assert cost["seconds"] == pytest.approx(0.2 + judge_s())
        assert (cost["cost_usd"], cost["tokens"]) == ("0.000000000", 0)
        assert cost["at_least"] is False
        assert "3 steps" in cost["basis"]

    def test_steps_that_are_done_cost_nothing_more(self):
        task = chain()
        for step_id in ("a", "b", "c"):
            finish_step(task, step_id)

        cost = stop(task)["cost_to_finish"]

        assert cost["seconds"] == pytest.approx(judge_s())
        assert "step" not in cost["basis"]

    def test_failed_and_skipped_steps_are_to_be_done_again(self):
        task = chain()
        finish_step(task, "a", failed())
        with task_turn(task.pk) as turn:
            turn.skip_dependants()
        finish_step(task, "c")

        assert "2 steps" in stop(task)["cost_to_finish"]["basis"]

    def test_step_of_an_arm_that_is_gone_counts_as_it_was_planned(self):
        gone = make_step(
            "a", arm="tentacle", estimated_cost=Decimal("0.25"), estimated_time=7.0
        )

        cost = stop(make_planned_task(gone))["cost_to_finish"]

        assert cost["cost_usd"] == "0.250000000"
        assert cost["seconds"] == pytest.approx(7.0 + judge_s())

    def test_tokens_of_steps_that_ask_a_model_are_known_once_some_were_seen(self):
        def tokens() -> Any:
            task = make_planned_task(make_step("a", capability="ask"))
            return stop(task)["cost_to_finish"]["tokens"]

        before = tokens()
        observed.register("tests.planner.observing.figures")
        seen = Observed(count=3, p50_s=0.1, p90_s=0.1, p50_tokens=42)
        tell({("gate", "ask"): seen})

        assert (before, tokens()) == (None, 42)

    def test_judging_by_a_model_is_part_of_it(self, priced_model):
        task = chain(acceptance_criteria=["Be short"])

        cost = stop(task)["cost_to_finish"]

        # 2,500 tokens at 2 USD and 1,500 at 10 USD per million.
        assert (cost["cost_usd"], cost["tokens"]) == ("0.020000000", 4_000)

    def test_before_there_is_a_plan_a_figure_is_the_least(self, priced_model):
        task = make_task(acceptance_criteria=["Be short"])
        claim_of(task, "plan")

        cost = stop(task)["cost_to_finish"]

        # Judging as above; planning takes 3,000 and 2,000.
        assert (cost["cost_usd"], cost["tokens"]) == ("0.046000000", 9_000)
        assert cost["at_least"] is True
        assert "not known" in cost["basis"]

    def test_what_nobody_knows_is_null(self):
        task = make_task()
        claim_of(task, "plan")

        cost = stop(task)["cost_to_finish"]

        assert (cost["cost_usd"], cost["tokens"]) == (None, None)

    def test_model_without_a_price_makes_no_figure(self, priced_model, settings):
        settings.OCTOLLM_LLM_BASE_URL = "https://models.example/v1"
        settings.OCTOLLM_LLM_PRICE_INPUT = settings.OCTOLLM_LLM_PRICE_OUTPUT = None
        task = chain(acceptance_criteria=["Be short"])

        cost = stop(task)["cost_to_finish"]

        assert cost["cost_usd"] is None
        assert cost["tokens"] == 4_000

    def test_unmet_criteria_take_another_plan(self, priced_model):
        task = chain(acceptance_criteria=["Be short"])
        for step_id in ("a", "b", "c"):
            finish_step(task, step_id)

        cost = judged(task, "not_met")["cost_to_finish"]

        assert (cost["tokens"], cost["at_least"]) == (9_000, True)
        assert Step.objects.filter(task=task).exclude(status="done").count() == 0

    def test_quote_that_failed_only_lacks_its_planning(self, priced_model):
        task = make_task(plan_only=True, acceptance_criteria=["Be short"])
        claim_of(task, "plan")

        assert stop(task)["cost_to_finish"]["tokens"] == 5_000


def judge_s() -> float:
    offer = get_arm("judge").spec.capability("check_criteria")
    assert offer is not None
    return offer.seconds
