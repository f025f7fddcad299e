"""Another plan version: who may ask for one, and what the planner hears."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from planner.plan import from_json
from tasks_app import revisions
from tasks_app.experience import remembered_plans
from tasks_app.models import Charge, Plan, Step, Task, Verdict
from tasks_app.replanning import STEP_VERSION, ask_for_new_plan
from tasks_app.turn import task_turn
from tests import fakes
from tests.builders import (
    claim_of,
    failed,
    make_planned_task,
    make_step,
    statuses,
)
from tests.fakes import Answer, FakeModel
from tests.models import model_in_settings
from tests.tasks_app.replans import (
    ATTACK,
    events_of,
    make_modelled_task,
    new_step,
    result_of,
    revision,
    run_all,
    run_until,
    step_of,
    verdicts_of,
)

pytestmark = pytest.mark.django_db

TOLD_UNMET = {
    "criterion": 0,
    "kind": "criterion",
    "verdict": "not_met",
    "method": "range",
    "score": 0.0,
}


@pytest.fixture
def model(settings: Any, engines: Any) -> Any:
    settings.OCTOLLM_RETRY_MIN_S = settings.OCTOLLM_RETRY_MAX_S = 0
    with model_in_settings(settings) as fake:
        yield fake


class TestAskForNewPlan:
    def test_plan_step_is_added_and_counted_and_nothing_else_changes(self):
        task = make_planned_task(make_step("a"))

        with task_turn(task.pk) as turn:
            ask_for_new_plan(turn, reason="retry")

        step = step_of(task, "plan-2")
        assert (step.kind, step.status) == ("plan", "waiting")
        assert step.version == STEP_VERSION
        assert statuses(task)["a"] == "ready"
        task.refresh_from_db()
        assert (task.replan_count, task.stage) == (1, "executing")

    def test_planner_hears_numbers_and_codes_and_no_text(self):
        task = make_planned_task(make_step("a"))
        unmet: Any = TOLD_UNMET | {"method": ATTACK, "evidence": ATTACK}

        with task_turn(task.pk) as turn:
            ask_for_new_plan(
                turn,
                reason="criteria_not_met",
                unmet=[unmet, {"criterion": ATTACK, "verdict": ATTACK}],
                failures=[{"step_id": "a", "error": "arm_failed", "message": ATTACK}],
            )

        assert step_of(task, "plan-2").input == {
            "reason": "criteria_not_met",
            "run": 1,
            "used": {"nano": 0, "tokens": 0, "seconds": 0},
            "unmet": [TOLD_UNMET | {"method": "other"}, {}],
            "failures": [{"step_id": "a", "error": "arm_failed"}],
        }

    def test_second_try_at_a_version_has_an_id_of_its_own(self):
        task = make_planned_task(make_step("a"))
        with task_turn(task.pk) as turn:
            ask_for_new_plan(turn, reason="retry")
            turn.advance()
        claim = claim_of(task, "plan-2")

        with task_turn(task.pk) as turn:
            turn.end_attempt(claim, failed())
            ask_for_new_plan(turn, reason="retry")

        assert step_of(task, "plan-2-2").status == "waiting"


class TestNextVersion:
    def test_unmet_criterion_is_mended_by_a_new_version(self, model: FakeModel):
        task = make_modelled_task()
        model.will(revision(new_step(score=0.5)))

        task = run_all(task)

        assert (task.status, task.plan_version, task.replan_count) == (
            "completed",
            2,
            1,
        )
        assert verdicts_of(task) == [(1, "not_met"), (2, "met")]
        assert result_of(task).plan_version == 2
        assert result_of(task).result_data["score"] == 0.5
        assert result_of(task).result_data["rounds"] == [
            {"plan_version": 1, "met": 0, "not_met": 1, "not_checked": 0},
            {"plan_version": 2, "met": 1, "not_met": 0, "not_checked": 0},
        ]

    def test_finished_steps_stay_and_run_once(self, model: FakeModel):
        task = make_modelled_task()
        model.will(revision(new_step(score=0.5)))

        run_all(task)

        assert statuses(task) == {
            "plan": "done",
            "a": "superseded",
            "b": "done",
            "c": "done",
            "judge": "superseded",
            "plan-2": "done",
            "v2-1": "done",
            "judge-2": "done",
        }
        tries = Step.objects.filter(task=task).values_list("attempt_count", flat=True)
        assert set(tries) == {1}
        assert step_of(task, "a").output["score"] == 3

    def test_version_says_why_it_is_there_and_holds_money_to_be_judged(
        self, model: FakeModel
    ):
        task = make_modelled_task(
            acceptance_criteria=["score between 0 and 1", "The tone is friendly"]
        )
        model.will(
            fakes.completion(json.dumps({"verdicts": []})),
            revision(new_step(score=0.5)),
        )

        run_until(task, "v2-1")

        plan = Plan.objects.get(task=task, version=2)
        assert (plan.reason, plan.source, plan.run) == ("criteria_not_met", "model", 1)
        assert plan.grants["arms"] == ["gate"]
        assert step_of(task, "judge-2").envelope_tokens > 0
        assert step_of(task, "judge-2").depends_on == ["b", "c", "v2-1"]

    def test_going_back_is_an_event_of_ids_and_numbers(self, model: FakeModel):
        task = make_modelled_task()

        task = run_until(task, "plan-2")

        assert task.stage == "planning"
        assert events_of(task, "task.replanning") == [
            {
                "version": 1,
                "round": 1,
                "reason": "criteria_not_met",
                "met": 0,
                "not_met": 1,
                "not_checked": 0,
                "unmet": [["criterion", 0]],
                "failed": [],
            }
        ]

    def test_new_step_may_build_on_a_finished_one(self, model: FakeModel):
        task = make_modelled_task()
        reading = new_step(score=0.5)
        reading["input"]["value"] = {"$from": "steps.b.value"}
        model.will(revision(reading))

        run_all(task)

        assert step_of(task, "v2-1").depends_on == ["b"]
        assert step_of(task, "v2-1").output["value"] == "b"

    def test_failed_step_is_made_up_for(self, model: FakeModel):
        task = make_modelled_task(
            make_step("a", input={"score": 0.5}),
            make_step("b", capability="fail"),
            make_step("c", depends_on=("b",)),
        )
        model.will(
            revision(new_step(value="b"), new_step("n2", value="c"), replaces=())
        )

        task = run_all(task)

        assert (task.status, task.plan_version) == ("completed", 2)
        wanted = step_of(task, "plan-2").input
        assert wanted["reason"] == "work_failed"
        assert wanted["failures"] == [{"step_id": "b", "error": "arm_failed"}]
        assert statuses(task)["b"] == statuses(task)["c"] == "superseded"

    def test_unmet_constraint_is_told_by_its_own_number(self, model: FakeModel):
        task = make_modelled_task(
            make_step("a", input={"score": 0.5}),
            make_step("b"),
            make_step("c"),
            constraints=["score between 2 and 3"],
        )

        run_until(task, "plan-2")

        assert step_of(task, "plan-2").input["unmet"] == [
            TOLD_UNMET | {"kind": "constraint"}
        ]

    def test_version_that_served_is_remembered_as_a_plan_of_its_own(
        self, model: FakeModel
    ):
        task = make_modelled_task()
        model.will(revision(new_step(score=0.5)))
        run_all(task)

        (found,) = remembered_plans(task.owner_id)

        steps = from_json(found.plan).steps
        assert [step.step_id for step in steps] == ["b", "c", "v2-1"]


class TestNoNextVersion:
    @pytest.mark.parametrize(
        ("overrides", "setting"),
        [
            ({"source": "caller"}, {}),
            ({}, {"OCTOLLM_MAX_REPLANS": 0}),
            ({}, {"OCTOLLM_LLM_MODEL": "", "OCTOLLM_LLM_BASE_URL": ""}),
            ({"constraints": ["Use no model"]}, {}),
            ({"max_tokens": 1_000}, {}),
            ({"max_time_seconds": 25}, {}),
            (
                {"max_cost_usd": Decimal("0.0001")},
                {"OCTOLLM_LLM_PRICE_INPUT": Decimal(1)},
            ),
            ({}, {"OCTOLLM_LLM_BASE_URL": "https://models.invalid/v1"}),
        ],
        ids=[
            *("caller's plan", "no rounds", "no model", "forbidden", "tokens", "time"),
            *("dollars", "unpriced"),
        ],
    )
    def test_task_ends_with_its_first_result(
        self, model: FakeModel, settings: Any, overrides: Any, setting: Any
    ):
        for name, value in setting.items():
            setattr(settings, name, value)

        task = run_all(make_modelled_task(**overrides))

        assert (task.status, task.stop_reason) == ("failed", "criteria_not_met")
        assert (task.plan_version, task.replan_count) == (1, 0)
        assert said_to_planner(model) == []
        assert "rounds" not in result_of(task).result_data

    def test_what_could_not_be_checked_asks_for_none(self, model: FakeModel):
        model.default = fakes.completion(json.dumps({"verdicts": []}))

        task = run_all(make_modelled_task(acceptance_criteria=["The tone is kind"]))

        assert (task.status, task.plan_version) == ("completed", 1)
        assert verdicts_of(task) == [(1, "not_checked")]

    def test_rounds_are_bounded(self, model: FakeModel, settings: Any):
        model.will(
            revision(new_step(score=4)),
            revision(new_step(score=5), replaces=("v2-1",)),
            revision(new_step(score=0.5), replaces=("v3-1",)),
        )

        task = run_all(make_modelled_task())

        assert (task.status, task.stop_reason) == ("failed", "criteria_not_met")
        assert (task.plan_version, task.replan_count) == (3, 2)
        assert len(model.requests) == 2
        assert result_of(task).result_data["score"] == 5


class TestPlannersEars:
    def test_text_of_outputs_and_evidence_never_reaches_the_planner(
        self, model: FakeModel
    ):
        task = make_modelled_task(
            make_step("a", input={"value": {"$from": "context.w.x.y.z"}}),
            make_step("b", input={"value": {"$from": "steps.a.value"}}),
            make_step("c"),
            # So deep that it is no part of the context's shape either.
            context={"w": {"x": {"y": {"z": ATTACK}}}},
            acceptance_criteria=["The tone is kind"],
            result={"value": {"$from": "steps.a.value"}},
        )
        model.will(
            judgement("not_met", evidence=ATTACK),
            revision(new_step(value="You are welcome.")),
            judgement("met", evidence="It says so."),
        )

        task = run_all(task)

        (told,) = said_to_planner(model)
        assert task.status == "completed"
        assert Verdict.objects.filter(task=task)[0].evidence == ATTACK
        assert ATTACK in step_of(task, "b").output["value"]
        assert ATTACK not in told
        assert f'"value": "string of {len(ATTACK)} characters"' in told
        assert '"method": "model"' in told

    @pytest.mark.parametrize(
        "beyond",
        [
            new_step(arm="analyst", capability="keywords", texts=["x"]),
            new_step(score=0.5, host="evil.example"),
        ],
        ids=["arm", "host"],
    )
    def test_what_the_first_plan_was_granted_is_the_ceiling(
        self, model: FakeModel, beyond: Any
    ):
        model.default = revision(beyond)

        task = run_all(make_modelled_task())

        assert (task.plan_version, task.stop_reason) == (1, "criteria_not_met")
        why = task.error["replan_error"]
        assert why["code"] == "invalid_plan"
        assert {each[:4] for each in why["violations"]} == {"P022"}

    def test_resumed_step_asks_what_it_asked_before(self, model: FakeModel):
        task = run_until(make_modelled_task(), "plan-2")
        wanted = step_of(task, "plan-2").input
        asked = revisions.contract_for(task, wanted)

        task.spent_nano, task.spent_tokens = 10**8, 3_000
        again = revisions.contract_for(task, wanted)
        task.max_cost_usd += 1
        raised = revisions.contract_for(task, wanted)

        assert again == asked
        assert raised.max_cost_usd == asked.max_cost_usd + 1

    def test_answer_that_was_paid_for_is_not_paid_for_again(self, model: FakeModel):
        task = run_until(make_modelled_task(), "plan-2")
        model.will(revision(new_step(score=0.5)))
        claim = claim_of(task, "plan-2")
        planned_once(claim)
        with task_turn(task.pk) as turn:
            turn.lose_attempt(step_of(task, "plan-2"))

        task = run_all(task)

        assert task.status == "completed"
        assert len(model.requests) == 1
        assert Charge.objects.filter(task=task).count() == 1


def planned_once(claim: Any) -> None:
    """Make the plan of a claim and forget it, as a worker that dies then."""
    from octollm.resilience.deadline import StopToken
    from tasks_app import pipeline

    pipeline._made(claim, StopToken(20))


def judgement(verdict: str, *, evidence: str) -> Answer:
    """Answer with the verdict on the one criterion that a model judges."""
    item = {"id": "c0", "verdict": verdict, "evidence": evidence, "score": 0.2}
    return fakes.completion(json.dumps({"verdicts": [item]}))


def said_to_planner(model: FakeModel) -> list[str]:
    """Return what the model was told of requests, each time that it planned."""
    asked = [received.body["messages"] for received in model.requests]
    return [each[1]["content"] for each in asked if "Planner Arm" in each[0]["content"]]


def test_task_in_its_second_round_shows_as_planning(model: FakeModel):
    task = run_until(make_modelled_task(), "plan-2")

    row = Task.objects.get(pk=task.pk)

    assert (row.status, row.stage, row.finished_at) == ("processing", "planning", None)
