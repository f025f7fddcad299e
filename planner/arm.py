"""The planner as an arm."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, ValidationError

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from arms.registry import catalogue
from octollm.errors import ArmInputError, OctoLLMError
from octollm.types import JSONObject, JSONValue
from planner.capabilities import SPEC
from planner.plan import PlanningContract, to_json
from planner.planning import make_plan
from planner.recipe_planning import plan_by_recipe

DEFAULT_BATCH_SIZE = 50


def _as_decimal(value: object) -> object:
    """Read money from its text: a float would carry its error into the budget."""
    try:
        return Decimal(str(value))
    except InvalidOperation:
        return value


class _Budget(BaseModel):
    max_cost_usd: Annotated[Decimal, BeforeValidator(_as_decimal)] | None = None
    max_time_seconds: float | None = None
    max_tokens: int | None = None


class _Contract(BaseModel):
    goal: Annotated[str, Field(min_length=1)]
    constraints: tuple[str, ...] = ()
    acceptance_criteria: tuple[str, ...] = ()
    context: dict[str, JsonValue] = {}
    budget: _Budget = _Budget()
    assigned_arm: str | None = None


class PlannerArm:
    """Makes plans, and cuts lists into batches for the plans of others."""

    @property
    def spec(self) -> ArmSpec:
        """The catalogue entry."""
        return SPEC

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Plan, or cut a list, as the request's capability says.

        Raises:
            ArmInputError: the input has the wrong shape.
            PlanError: no plan can be made.
            ModelError: the model failed and no recipe fits.
        """
        if request.capability == "planning":
            return _plan(request, services)
        if request.capability == "batch":
            return _batch(request)
        raise ArmInputError(
            f"The planner has no capability “{request.capability}”.",
            arm_name=SPEC.name,
        )

    def check(self) -> Health:
        """Plan a goal by recipe against the present catalogue."""
        contract = PlanningContract(
            task_id=UUID(int=0),
            goal="Analyze the sentiment of these reviews",
            context={"reviews": ["Good."]},
            max_cost_usd=Decimal(1),
            max_time_s=600.0,
            max_tokens=10_000,
        )
        try:
            plan = plan_by_recipe(contract, catalogue())
        except OctoLLMError as error:
            return Health(is_healthy=False, detail=f"{error.code}: {error.message}")
        return Health(is_healthy=True, detail=f"recipe {plan.recipe}")


def answer_of(plan: JSONObject, *, task_id: UUID | str) -> JSONObject:
    """Return a stored plan as the planner answers: whose it is, money as numbers.

    Args:
        plan: what ``planner.plan.to_json`` wrote.
        task_id: the caller's own name for the request.
    """
    steps = plan["steps"]
    return {
        "task_id": str(task_id),
        **plan,
        "steps": [
            _with_number(step, "estimated_cost")
            for step in (steps if isinstance(steps, list) else [])
            if isinstance(step, dict)
        ],
        "total_estimated_cost": float(str(plan["total_estimated_cost"])),
    }


def _with_number(step: JSONObject, key: str) -> JSONObject:
    return step | {key: float(str(step[key]))}


def _plan(request: ArmRequest, services: ArmServices) -> ArmReply:
    contract = _contract(request, services)
    plan = make_plan(contract, services)
    return ArmReply(
        output=answer_of(to_json(plan), task_id=request.task_id),
        confidence=None,
        confidence_reason="The compiler passed the plan; how well it fits, nobody knows.",
    )


def _contract(request: ArmRequest, services: ArmServices) -> PlanningContract:
    try:
        given = _Contract.model_validate(request.input)
    except ValidationError as error:
        places = ", ".join(".".join(map(str, each["loc"])) for each in error.errors())
        raise ArmInputError(
            f"The contract is not valid: {places}.", arm_name=SPEC.name
        ) from error
    budget, own = given.budget, request.budget
    return PlanningContract(
        task_id=request.task_id,
        goal=given.goal,
        constraints=given.constraints,
        acceptance_criteria=given.acceptance_criteria,
        context=given.context,
        max_cost_usd=_or(budget.max_cost_usd, own.max_cost_usd),
        max_time_s=_or(budget.max_time_seconds, services.stop.remaining_s),
        max_tokens=_or(budget.max_tokens, own.max_tokens),
        assigned_arm=given.assigned_arm,
        knowledge_scope=services.knowledge_scope,
        model=services.model,
    )


def _or(value: Any, fallback: Any) -> Any:
    return fallback if value is None else value


def _batch(request: ArmRequest) -> ArmReply:
    items = request.input.get("items")
    size = request.input.get("size", DEFAULT_BATCH_SIZE)
    if not isinstance(items, list):
        raise ArmInputError("“items” must be a list.", arm_name=SPEC.name)
    if not isinstance(size, int) or isinstance(size, bool) or size < 1:
        raise ArmInputError("“size” must be a whole number from 1.", arm_name=SPEC.name)
    batches: list[JSONValue] = [
        items[start : start + size] for start in range(0, len(items), size)
    ]
    return ArmReply(
        output={"batches": batches, "count": len(batches)},
        confidence=1.0,
        confidence_reason="Every item is in one batch, in order.",
    )
