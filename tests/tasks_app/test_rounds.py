"""Rounds of a run: which version is given back, and when another is not worth it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from octollm.errors import BudgetExceededError, DeadlineExceededError
from tasks_app import approvals, pipeline, reaper
from tasks_app.finish import close_cancelled
from tasks_app.models import Step, Task
from tasks_app.results import Finding
from tasks_app.rounds import Round
from tasks_app.turn import task_turn
from tests import fakes
from tests.builders import claim_of, make_step, statuses
from tests.fakes import FakeModel
from tests.models import model_in_settings
from tests.tasks_app.replans import (
    make_modelled_task,
    new_step,
    result_of,
    revision,
    run_all,
    run_until,
    verdicts_of,
)

pytestmark = pytest.mark.django_db

TEXTS = ["The kettle boils fast.", "The kettle leaks."]


@pytest.fixture
def model(settings: Any, engines: Any) -> Any:
    settings.OCTOLLM_RETRY_MIN_S = settings.OCTOLLM_RETRY_MAX_S = 0
    with model_in_settings(settings) as fake:
        # It only plans, unless a test lets it judge, too.
        settings.OCTOLLM_LLM_MODEL_PLANNING = settings.OCTOLLM_LLM_MODEL
        settings.OCTOLLM_LLM_MODEL = ""
        yield fake


class TestBestSoFar:
    def run(self, model: FakeModel, *scores: int) -> Any:
        """Run a task whose versions give these scores, none of them good enough."""
        first, second, third = scores
        model.will(
            revision(new_step(score=second)),
            revision(new_step(score=third), replaces=("v2-1",)),
        )
        task = make_modelled_task(
            make_step("a", input={"score": first}),
            make_step("b"),
            make_step("c"),
            acceptance_criteria=[
                *("score at least 10", "score at most 20", "score at most 30"),
            ],
        )
        return run_all(task)

    def test_version_that_meets_more_is_given_back(self, model: FakeModel):
        task = self.run(model, 25, 40, 50)

        result = result_of(task)
        assert (task.status, task.plan_version, result.plan_version) == ("failed", 3, 1)
        assert result.result_data["score"] == 25
        assert [each["verdict"] for each in result.result_data["criteria"]] == [
            *("met", "not_met", "met")
        ]
        assert task.error["message"] == "1 of 3 criteria are not met."
        assert [each["met"] for each in result.result_data["rounds"]] == [2, 1, 1]

    def test_of_equal_versions_the_later_is_given_back(self, model: FakeModel):
        task = self.run(model, 25, 40, 26)

        assert result_of(task).plan_version == 3
        assert len(verdicts_of(task)) == 9

    @pytest.mark.parametrize(
        ("better", "worse"),
        [
            ((1, ["met", "not_met"]), (2, ["not_checked", "not_checked"])),
            ((1, ["met", "not_checked"]), (2, ["met", "not_met"])),
            ((2, ["met", "not_met"]), (1, ["met", "not_met"])),
        ],
        ids=["more are met", "fewer are not met", "later"],
    )
    def test_order_of_versions(self, better: Any, worse: Any):
        one, other = (
            Round(
                version=version,
                findings=tuple(Finding(criterion="x", verdict=each) for each in found),
            )
            for version, found in (better, worse)
        )

        assert one.rank > other.rank


class TestNoProgress:
    def test_steps_that_all_ran_before_are_not_run_again(self, model: FakeModel):
        task = make_modelled_task(
            make_step("a", input={"score": 3}),
            make_step("b"),
            make_step("c", capability="fail", input={"value": "c"}),
        )
        model.will(revision(new_step(capability="fail", value="c"), replaces=()))

        task = run_all(task)

        assert (task.status, task.stop_reason) == ("failed", "no_progress")
        assert (task.plan_version, task.error["code"]) == (1, "arm_failed")
        assert task.error["replan_error"]["code"] == "no_progress"
        assert statuses(task)["plan-2"] == "done"
        assert len(verdicts_of(task)) == 1

    def test_going_back_and_forth_is_noticed(self, model: FakeModel):
        model.will(
            revision(new_step(score=4)),
            revision(new_step(score=3), replaces=("v2-1",)),
        )

        task = run_all(make_modelled_task())

        assert (task.stop_reason, task.plan_version) == ("no_progress", 2)
        assert result_of(task).plan_version == 2
        assert task.error["code"] == "criteria_not_met"

    def test_result_that_was_there_before_is_not_judged_again(self, model: FakeModel):
        task = self.make_keywords(model, limits=(8, 9))

        task = run_all(task)

        assert (task.status, task.stop_reason) == ("failed", "no_progress")
        assert (task.plan_version, statuses(task)["judge-2"]) == (2, "done")
        assert verdicts_of(task) == [(1, "not_met")]
        assert result_of(task).plan_version == 1
        asked = [each.body["messages"][0]["content"] for each in model.requests]
        assert [text.startswith("You judge") for text in asked] == [True, False]

    def test_result_of_any_earlier_version_is_noticed(self, model: FakeModel):
        task = self.make_keywords(model, limits=(8, 1, 9))

        task = run_all(task)

        assert (task.stop_reason, task.plan_version) == ("no_progress", 3)
        assert verdicts_of(task) == [(1, "not_met"), (2, "not_met")]

    @pytest.fixture(autouse=True)
    def _model_judges(self, model: FakeModel, settings: Any) -> None:
        settings.OCTOLLM_LLM_MODEL = "fake-model"

    def make_keywords(self, model: FakeModel, *, limits: tuple[int, ...]) -> Task:
        """Return a task whose versions differ in a limit; 8 and 9 give the same."""
        finding = {
            "id": "c0",
            "verdict": "not_met",
            "evidence": "It is not.",
            "score": 0,
        }
        say_no = json.dumps({"verdicts": [finding]})
        first, *others = limits
        given: dict[str, Any] = {"arm": "analyst", "capability": "keywords"}
        for number, limit in enumerate(others, start=2):
            old = "a" if number == 2 else f"v{number - 1}-1"
            again = new_step(**given, texts=TEXTS, limit=limit)
            model.will(fakes.completion(say_no), revision(again, replaces=(old,)))
        return make_modelled_task(
            make_step("a", **given, input={"texts": TEXTS, "limit": first}),
            make_step("b"),
            make_step("c"),
            acceptance_criteria=["The tone is kind"],
            grants={"arms": ["analyst", "gate"]},
            max_tokens=40_000,
            result={"keywords": {"$from": "steps.a.keywords"}},
        )


class TestPlanningFails:
    """What was judged is given back when no other version comes of it."""

    def assert_first_version(self, task: Any, code: str) -> None:
        assert (task.status, task.stop_reason) == ("failed", "criteria_not_met")
        assert task.error["code"] == "criteria_not_met"
        assert task.error["replan_error"]["code"] == code
        assert verdicts_of(task) == [(1, "not_met")]
        assert result_of(task).result_data["criteria"][0]["verdict"] == "not_met"
        assert result_of(task).result_data["score"] == 3

    @pytest.mark.parametrize(
        ("answer", "code"),
        [
            (fakes.completion("I would rather not."), "invalid_plan"),
            (fakes.error(503), "model_unavailable"),
            (revision(new_step("n1"), new_step("n1", value=2)), "invalid_plan"),
        ],
        ids=["no plan", "model away", "broken plan"],
    )
    def test_model_that_gives_no_plan(
        self, model: FakeModel, settings: Any, answer: Any, code: str
    ):
        settings.OCTOLLM_MAX_ATTEMPTS = 1
        model.default = answer

        self.assert_first_version(run_all(make_modelled_task()), code)

    @pytest.mark.parametrize(
        "error", [BudgetExceededError(limit="tokens"), DeadlineExceededError()]
    )
    def test_limit_that_is_reached_while_planning(
        self, model: FakeModel, monkeypatch: Any, error: Any
    ):
        def stopped(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(pipeline, "make_plan", stopped)

        self.assert_first_version(run_all(make_modelled_task()), error.code)

    def test_workers_that_are_lost_while_planning(
        self, model: FakeModel, settings: Any
    ):
        settings.OCTOLLM_MAX_ATTEMPTS = 1
        task = run_until(make_modelled_task(), "plan-2")
        claim_of(task, "plan-2")
        Step.objects.filter(task=task, step_id="plan-2").update(
            lease_until="2020-01-01T00:00:00Z"
        )

        reaper.take_back_lost_steps()

        task.refresh_from_db()
        self.assert_first_version(task, "worker_lost")


class TestStoppedInTheSecondRound:
    """What was judged is given back when the next version does not get that far."""

    @pytest.fixture
    def task(self, model: FakeModel) -> Any:
        model.will(revision(new_step(score=0.5)))
        return run_until(make_modelled_task(), "v2-1")

    def assert_first_result(self, task: Any) -> None:
        result = result_of(task)
        assert (task.plan_version, result.plan_version) == (2, 1)
        assert result.result_data["score"] == 3
        assert result.result_data["criteria"][0]["verdict"] == "not_met"
        assert verdicts_of(task) == [(1, "not_met")]

    @pytest.mark.parametrize(
        ("error", "stop_reason"),
        [
            (BudgetExceededError(limit="tokens"), "budget_tokens"),
            (DeadlineExceededError(), "deadline"),
        ],
        ids=["budget", "deadline"],
    )
    def test_by_a_limit(
        self, task: Any, monkeypatch: Any, error: Any, stop_reason: str
    ):
        def stopped(*_: Any) -> Any:
            raise error

        monkeypatch.setattr(pipeline, "work", stopped)

        task = run_all(task)

        assert (task.status, task.stop_reason) == ("failed", stop_reason)
        self.assert_first_result(task)

    def test_by_its_caller(self, task: Any):
        with task_turn(task.pk) as turn:
            close_cancelled(turn)

        task.refresh_from_db()
        assert task.status == "cancelled"
        self.assert_first_result(task)

    def test_by_a_judge_that_fails(self, task: Any):
        Step.objects.filter(task=task, step_id="judge-2").update(
            arm="gate", capability="fail"
        )

        task = run_all(task)

        assert (task.status, task.stop_reason) == ("failed", "judge_failed")
        self.assert_first_result(task)

    def test_money_that_was_held_is_given_back(self, task: Any):
        with task_turn(task.pk) as turn:
            close_cancelled(turn)

        task.refresh_from_db()
        assert (task.held_nano, task.held_tokens) == (0, 0)
        assert task.spent_tokens == 150


def test_next_version_is_asked_about_and_a_no_leaves_what_was_judged(
    model: FakeModel,
):
    model.will(revision(new_step(score=0.5)))
    task = run_all(make_modelled_task(approval="always"))
    assert (task.stage, task.plan_version) == ("awaiting_approval", 2)
    assert statuses(task)["v2-1"] == "waiting"

    approvals.reject(
        task.pk, approvals.Decider(name="ann", owner=task.owner), approvals.Answer()
    )

    task.refresh_from_db()
    assert (task.status, task.stop_reason) == ("cancelled", "approval_rejected")
    assert result_of(task).plan_version == 1
    assert result_of(task).result_data["score"] == 3


def test_failed_version_without_criteria_gives_back_what_it_has(model: FakeModel):
    model.default = fakes.completion("I would rather not.")
    task = make_modelled_task(
        make_step("a", input={"score": 3}),
        make_step("b", capability="fail"),
        make_step("c"),
        acceptance_criteria=[],
    )

    task = run_all(task)

    assert (task.status, task.stop_reason) == ("failed", "work_failed")
    assert task.error["code"] == "arm_failed"
    assert task.error["replan_error"]["code"] == "invalid_plan"
    assert result_of(task).result_data["missing_steps"] == ["b"]
