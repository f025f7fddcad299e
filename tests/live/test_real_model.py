"""Planning and judging by a real server: ``make test-live``.

Needs ``OCTOLLM_LLM_BASE_URL`` and ``OCTOLLM_LLM_MODEL`` (or
``OCTOLLM_LLM_PROVIDERS``) in the environment, and costs what the model costs. Never
part of the default run.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest

from arms import llm
from arms.contract import ArmRequest, StepBudget
from arms.registry import get_arm
from planner.model_planning import documents_note, plan_by_model
from planner.plan import Plan
from tests.evaluation.catalogue import evaluation_catalogue
from tests.evaluation.goals import goals_by_id
from tests.ledgers import MemoryMeter, make_services

pytestmark = [
    pytest.mark.live,
    pytest.mark.django_db,
    pytest.mark.usefixtures("engines", "real_model"),
]
GOALS = ("board-meeting", "battery-comments", "fix-empty-list")


@pytest.fixture
def real_model() -> None:
    """Skip where no model is configured."""
    if not llm.is_configured():
        pytest.skip(
            "no model: set OCTOLLM_LLM_BASE_URL and OCTOLLM_LLM_MODEL, and "
            "OCTOLLM_TEST_LIVE=1 so that the tests keep them"
        )


@pytest.fixture
def meter() -> MemoryMeter:
    """Return a ledger that pays for everything."""
    return MemoryMeter()


def planned(goal_id: str, meter: MemoryMeter) -> Plan:
    contract = goals_by_id()[goal_id].contract()
    return plan_by_model(
        contract,
        evaluation_catalogue(),
        make_services(meter, timeout_s=60.0),
        documents=documents_note(contract),
    )


@pytest.mark.parametrize("goal_id", GOALS)
def test_a_goal_gets_a_plan_that_compiles(goal_id: str, meter: MemoryMeter) -> None:
    plan = planned(goal_id, meter)

    assert plan.source == "model"
    assert len(plan.steps) >= 3
    assert set(meter.outcomes) <= {"settled", "released"}


def test_the_server_says_what_was_used(meter: MemoryMeter) -> None:
    planned(GOALS[0], meter)

    assert meter.usages
    assert not any(usage.is_estimated for usage in meter.usages)
    assert all(usage.input_tokens > 100 for usage in meter.usages)


def test_the_next_plan_begins_on_the_rung_that_worked(meter: MemoryMeter) -> None:
    planned(GOALS[0], meter)
    settled_on = meter.calls[-1].rung

    planned(GOALS[1], again := MemoryMeter())

    assert again.calls[0].rung == settled_on


def test_the_judge_answers_what_cannot_be_computed(meter: MemoryMeter) -> None:
    request = ArmRequest(
        request_id=uuid4(),
        task_id=uuid4(),
        step_id="judge",
        attempt=1,
        capability="check_criteria",
        input={
            "result": {"summary": "Thank you so much, dear customers, you are lovely!"},
            "criteria": ["The tone is friendly"],
        },
        budget=StepBudget(deadline_at=datetime.now(UTC) + timedelta(minutes=1)),
    )

    reply = get_arm("judge").execute(request, make_services(meter, timeout_s=60.0))

    verdicts = reply.output["verdicts"]
    assert isinstance(verdicts, list)
    assert isinstance(verdicts[0], dict)
    assert verdicts[0]["verdict"] in ("met", "not_met")
    assert meter.outcomes[-1] == "settled"
