"""Run a plan's steps one after the other, through the real arms of this process."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

from arms.contract import ArmRequest, ArmServices, StepBudget
from arms.registry import get_arm
from octollm.types import JSONObject
from planner.plan import Plan, PlanningContract, resolve


def run_plan(
    plan: Plan, contract: PlanningContract, services: ArmServices
) -> JSONObject:
    """Return the plan's result, every reference in it resolved."""
    outputs: dict[str, JSONObject] = {}
    for step in plan.steps:
        given = resolve(
            step.input, goal=contract.goal, context=contract.context, outputs=outputs
        )
        assert isinstance(given, dict)
        request = ArmRequest(
            request_id=uuid4(),
            task_id=contract.task_id,
            step_id=step.step_id,
            attempt=1,
            capability=step.capability,
            input=given,
            budget=StepBudget(deadline_at=datetime.now(UTC) + timedelta(minutes=1)),
        )
        outputs[step.step_id] = get_arm(step.arm).execute(request, services).output
    result = resolve(
        dict(plan.result), goal=contract.goal, context=contract.context, outputs=outputs
    )
    assert isinstance(result, dict)
    return result
