"""One goal given to the planner once, and what is to be known of it."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, TypeAlias
from uuid import UUID, uuid4

from jsonschema import Draft202012Validator

from arms.answers import from_record
from arms.contract import ArmSpec, ModelUsage
from arms.knowledge import documents
from arms.registry import catalogue as running_arms
from octollm.errors import ModelError, OctoLLMError
from octollm.types import JSONObject
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.model_planning import documents_note, plan_by_model
from planner.parsing import parse_draft
from planner.plan import Plan, PlanningContract
from planner.prompts import plan_schema
from planner.recipe_planning import plan_by_recipe
from tests.evaluation.goals import Goal
from tests.ledgers import MemoryMeter, make_services
from tests.planner.running import run_plan

MILLION = 1_000_000
Source: TypeAlias = Literal["recipes", "model"]


@dataclass(frozen=True, kw_only=True)
class FirstAnswer:
    """What the model's first answer was worth before anybody helped.

    Attributes:
        fits_schema: it was JSON as it stood, and of the shape asked for.
        is_readable: a plan could be read from it, repaired if need be.
        is_executable: that plan compiled.
    """

    fits_schema: bool
    is_readable: bool
    is_executable: bool


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What came of one try.

    Attributes:
        error: the code of the error that came in place of a plan, else empty.
        first: nothing when no model answered.
        execution: ``done`` or the code of the error, when the steps were run.
        calls: model calls that were answered.
        cost_usd: what planning itself cost.
        is_settled: whether no charge was left open.
    """

    goal: Goal
    plan: Plan | None
    error: str
    latency_s: float
    first: FirstAnswer | None = None
    execution: str | None = None
    calls: int = 0
    tokens: int = 0
    cost_usd: Decimal = Decimal(0)
    is_settled: bool = True


@dataclass
class AnswerMeter(MemoryMeter):
    """A ledger that also keeps the texts of the answers, in order."""

    answers: list[str] = field(default_factory=list)

    def settle(self, charge_id: UUID, usage: ModelUsage, reply: str) -> None:
        """Keep the answer's text, usable or not."""
        super().settle(charge_id, usage, reply)
        try:
            self.answers.append(from_record(reply).completion().text)
        except ModelError:
            self.answers.append("")


def try_goal(
    goal: Goal,
    *,
    source: Source,
    catalogue: Sequence[ArmSpec],
    execute: bool = False,
) -> Trial:
    """Plan one goal, and run the plan if its arms run here and ``execute`` is set.

    The goal's documents are ingested for an owner of its own: needs the database.
    """
    scope = _ingested(goal)
    contract = goal.contract(scope=scope)
    meter = AnswerMeter(max_tokens=contract.max_tokens)
    services = make_services(meter, timeout_s=300.0, knowledge_scope=scope)
    plan, error = None, ""
    started = time.perf_counter()
    try:
        plan = (
            plan_by_recipe(contract, catalogue)
            if source == "recipes"
            else plan_by_model(
                contract, catalogue, services, documents=documents_note(contract)
            )
        )
    except OctoLLMError as failure:
        error = failure.code
    latency_s = time.perf_counter() - started
    can_run = plan is not None and execute and _runs_here(plan)
    return Trial(
        goal=goal,
        plan=plan,
        error=error,
        latency_s=latency_s,
        first=_first_answer(meter, contract, catalogue),
        execution=_execution(plan, contract) if plan and can_run else None,
        calls=len(meter.answers),
        tokens=sum(each.input_tokens + each.output_tokens for each in meter.usages),
        cost_usd=_cost_usd(meter),
        is_settled="held" not in meter.outcomes,
    )


def _ingested(goal: Goal) -> UUID:
    scope = uuid4()
    for each in goal.documents:
        documents.ingest(
            scope, collection=each.collection, title=each.title, text=each.text
        )
    return scope


def _runs_here(plan: Plan) -> bool:
    names = {spec.name for spec in running_arms()}
    return all(step.arm in names for step in plan.steps)


def _execution(plan: Plan, contract: PlanningContract) -> str:
    services = make_services(knowledge_scope=contract.knowledge_scope)
    try:
        run_plan(plan, contract, services)
    except OctoLLMError as failure:
        return failure.code
    return "done"


def _first_answer(
    meter: AnswerMeter, contract: PlanningContract, catalogue: Sequence[ArmSpec]
) -> FirstAnswer | None:
    if not meter.answers:
        return None
    text = meter.answers[0]
    try:
        draft = parse_draft(text)
    except OctoLLMError:
        draft = None
    return FirstAnswer(
        fits_schema=fits_schema(text, plan_schema(catalogue)),
        is_readable=draft is not None,
        is_executable=draft is not None and _compiles(draft, contract, catalogue),
    )


def fits_schema(text: str, schema: JSONObject) -> bool:
    """Tell whether a text is JSON as it stands, and of this shape."""
    try:
        return bool(Draft202012Validator(schema).is_valid(json.loads(text)))
    except (ValueError, RecursionError):
        return False


def _compiles(
    draft: PlanDraft, contract: PlanningContract, catalogue: Sequence[ArmSpec]
) -> bool:
    try:
        compile_plan(draft, contract=contract, catalogue=catalogue, source="model")
    except OctoLLMError:
        return False
    return True


def _cost_usd(meter: MemoryMeter) -> Decimal:
    """Return what the answered calls cost, by the price of each."""
    settled = [
        call
        for call, state in zip(meter.calls, meter.outcomes, strict=True)
        if state == "settled"
    ]
    total = Decimal(0)
    # In the order of settling, which is that of reserving: one call at a time.
    for call, usage in zip(settled, meter.usages, strict=True):
        price = usage.price or call.price
        total += usage.input_tokens * price.input_per_million / MILLION
        total += usage.output_tokens * price.output_per_million / MILLION
    return total
