"""The planner as an arm: plans, batches and its self-check."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest

from arms.contract import ArmRequest, StepBudget
from octollm.errors import ArmInputError, InvalidPlanError, NeedsModelError
from planner.arm import PlannerArm
from planner.shapes import misfit
from tests.ledgers import make_services


def asked(capability: str, given: Any) -> Any:
    request = ArmRequest(
        request_id=UUID(int=1),
        task_id=UUID(int=2),
        step_id="1",
        attempt=1,
        capability=capability,
        input=given,
        budget=StepBudget(
            max_cost_usd=Decimal("0.50"),
            max_tokens=1_000,
            deadline_at=datetime.now(UTC) + timedelta(minutes=1),
        ),
    )
    return PlannerArm().execute(request, make_services())


CONTRACT = {"goal": "Analyze sentiment of reviews", "context": {"reviews": ["Good."]}}


def test_it_plans() -> None:
    output = asked("planning", CONTRACT).output

    assert output["task_id"] == str(UUID(int=2))
    assert output["steps"][0]["capability"] == "sentiment"
    assert output["steps"][0]["estimated_cost"] == output["total_estimated_cost"] == 0.0
    offer = PlannerArm().spec.capability("planning")
    assert offer is not None
    assert misfit(output, offer.output_schema, "output") is None


def test_a_budget_in_the_contract_counts() -> None:
    with pytest.raises(InvalidPlanError, match="P020"):
        asked("planning", CONTRACT | {"budget": {"max_time_seconds": 0.1}})


def test_an_open_goal_needs_a_model() -> None:
    with pytest.raises(NeedsModelError):
        asked("planning", {"goal": "Write a novel"})


@pytest.mark.parametrize(
    "given",
    [{}, {"goal": ""}, {"goal": 5}, {"goal": "x", "budget": {"max_cost_usd": "much"}}],
    ids=["nothing", "blank", "a number", "no money"],
)
def test_a_contract_of_the_wrong_shape_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError, match="not valid"):
        asked("planning", given)


@pytest.mark.parametrize(
    ("items", "size", "batches"),
    [
        ([1, 2, 3, 4, 5], 2, [[1, 2], [3, 4], [5]]),
        ([1], 50, [[1]]),
        ([], 3, []),
    ],
)
def test_it_cuts_lists_in_order(items: Any, size: int, batches: Any) -> None:
    output = asked("batch", {"items": items, "size": size}).output

    assert output == {"batches": batches, "count": len(batches)}


@pytest.mark.parametrize(
    "given",
    [{}, {"items": "abc"}, {"items": [1], "size": 0}, {"items": [1], "size": True}],
    ids=["nothing", "text", "no size", "no number"],
)
def test_a_batch_of_the_wrong_shape_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        asked("batch", given)


def test_an_unknown_capability_is_refused() -> None:
    with pytest.raises(ArmInputError, match="no capability"):
        asked("divination", {})


def test_its_self_check_plans_for_real() -> None:
    health = PlannerArm().check()

    assert health.is_healthy
    assert health.detail == "recipe sentiment"
