"""Between rows and the planner's values: envelopes, and what a model wrote."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.db.models.functions import Now

from arms import registration, registry
from arms.registry_models import ArmInstance
from octollm.errors import InvalidPlanError, UnpricedModelError
from planner.plan import Plan, PlannedStep
from reflex.models import Screening
from tasks_app.amounts import Amount, to_nano, to_usd
from tasks_app.models import Task
from tasks_app.planning import (
    compile_given,
    contract_of,
    judging_cost,
    rows_of,
    screened,
)
from tests.builders import make_task
from tests.gate import GateArm

PLENTY = Amount(nano=10**9, tokens=10_000)


def planned(step_id: str, *, cost: str = "0") -> PlannedStep:
    return PlannedStep(
        step_id=step_id,
        description="",
        arm="gate",
        capability="echo",
        depends_on=(),
        input={},
        criteria=(),
        estimated_cost=Decimal(cost),
        estimated_time=1.0,
    )


def plan(*steps: PlannedStep, **over: Any) -> Plan:
    fields: dict[str, Any] = {
        "source": "recipe",
        "result": {},
        "total_estimated_cost": Decimal(0),
        "total_estimated_time": 1.0,
        "sum_estimated_time": 1.0,
    }
    return Plan(steps=steps, **(fields | over))


@pytest.mark.django_db
def test_what_the_first_plan_costs_does_not_change_what_is_asked_for_it():
    task = make_task(max_cost_usd=Decimal(1))
    asked = contract_of(task)

    task.spent_nano = to_nano(Decimal("0.25"))

    assert contract_of(task) == asked
    task.plan_version = 1
    assert contract_of(task).max_cost_usd == Decimal("0.75")


def envelopes(made: Plan, *, judging: Amount, free: Amount) -> list[tuple[int, int]]:
    _, steps = rows_of(made, judging=judging, free=free)
    return [(step.envelope_nano, step.envelope_tokens) for step in steps]


class TestEnvelopes:
    def test_steps_hold_their_estimates_and_the_judge_its_own(self):
        made = plan(planned("a", cost="0.1"), planned("b", cost="0.2"))

        held = envelopes(made, judging=Amount(nano=5, tokens=7), free=PLENTY)

        assert held == [(100_000_000, 0), (200_000_000, 0), (5, 7)]

    def test_judge_has_a_third_of_what_is_free_at_most(self):
        judging = Amount(nano=900, tokens=900)

        held = envelopes(
            plan(planned("a")), judging=judging, free=Amount(nano=300, tokens=30)
        )

        assert held[-1] == (100, 10)

    def test_envelopes_never_exceed_what_is_free(self):
        made = plan(planned("a", cost="0.6"), planned("b", cost="0.6"))

        held = envelopes(made, judging=Amount(nano=10**9), free=PLENTY)

        assert sum(nano for nano, _ in held) == PLENTY.nano

    def test_judge_comes_last_and_waits_for_all(self):
        _, steps = rows_of(
            plan(planned("a"), planned("b")), judging=Amount(), free=PLENTY
        )

        assert [step.step_id for step in steps] == ["a", "b", "judge"]
        assert steps[-1].depends_on == ["a", "b"]

    def test_step_waits_in_the_queue_of_its_arm(self, monkeypatch):
        guarded = dataclasses.replace(GateArm.spec, queue="sandbox")
        monkeypatch.setattr(GateArm, "spec", guarded)

        _, steps = rows_of(plan(planned("a")), judging=Amount(), free=PLENTY)

        assert [step.queue for step in steps] == ["sandbox", "default"]


class TestJudgingCost:
    task = Task(acceptance_criteria=["The tone is friendly"])

    def test_without_a_model_nothing_is_set_aside(self):
        assert judging_cost(self.task) == Amount()

    def test_model_has_its_price(self, settings):
        settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
        settings.OCTOLLM_LLM_MODEL = "m"
        settings.OCTOLLM_LLM_PRICE_INPUT = settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal(
            1
        )

        assert judging_cost(self.task) == Amount(nano=4_000_000, tokens=4_000)

    def test_without_criteria_nothing_is_set_aside(self, settings):
        settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
        settings.OCTOLLM_LLM_MODEL = "m"

        assert judging_cost(Task()) == Amount()

    def test_price_that_is_unknown_is_never_taken_for_nothing(self, settings):
        settings.OCTOLLM_LLM_BASE_URL = "https://models.invalid/v1"
        settings.OCTOLLM_LLM_MODEL = "unheard-of"

        with pytest.raises(UnpricedModelError):
            judging_cost(self.task)


class TestMoney:
    @pytest.mark.parametrize(
        ("usd", "nano"), [("1", 10**9), ("0.000000001", 1), ("0.0000000001", 1)]
    )
    def test_dollars_become_whole_nano_dollars_rounded_up(self, usd, nano):
        assert to_nano(Decimal(usd)) == nano

    def test_nano_dollars_become_exact_dollars(self):
        assert to_usd(1_234) == Decimal("0.000001234")


@pytest.fixture
def _arms_as_they_are():
    """Look anew at which arms are away, here and in the next test."""
    registry.forget()
    yield
    registry.forget()


@pytest.mark.django_db
@pytest.mark.usefixtures("_arms_as_they_are")
class TestTexts:
    def test_planner_gets_the_budget_and_whose_documents_it_may_use(self):
        task = make_task(max_cost_usd=Decimal("0.5"))

        contract = contract_of(task)

        assert contract.max_cost_usd == Decimal("0.5")
        assert contract.knowledge_scope == task.owner_id
        assert contract.grants is None

    def test_callers_plan_may_not_use_an_arm_that_is_away(self):
        registration.write_local(registry.local_catalogue())
        ArmInstance.objects.filter(arm_id="gate").update(
            state="down",
            detail="broken",
            checked_at=Now(),
            since=Now() - timedelta(minutes=5),
        )
        registry.forget()
        step = {"step_id": "a", "arm": "gate", "capability": "echo"}

        with pytest.raises(InvalidPlanError, match="P021"):
            compile_given(make_task(given_plan={"steps": [step]}))

    @pytest.mark.parametrize("source", ["model", "cache"])
    def test_personal_data_in_a_plan_of_a_model_is_concealed(self, source):
        address = "eve@" + "corp.example"
        step = planned("a")
        made = plan(
            PlannedStep(**(vars(step) | {"description": f"Ask {address}"})),
            source=source,
        )

        concealed = screened(made, task_id=make_task().pk)

        assert concealed.steps[0].description == "Ask [EMAIL_1]"

    def test_nothing_is_kept_about_a_plan_whose_task_is_gone(self):
        with pytest.raises(Task.DoesNotExist):
            screened(plan(planned("a"), source="model"), task_id=uuid4())

        assert not Screening.objects.exists()

    @pytest.mark.parametrize("source", ["recipe", "caller"])
    def test_what_no_model_wrote_is_left_as_it_is(self, source):
        made = plan(planned("a"), source=source)

        assert screened(made, task_id=uuid4()) is made
