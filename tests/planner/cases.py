"""Contracts, drafts and a small catalogue for tests of the planner."""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from arms.contract import ArmSpec, Capability
from planner.draft import PlanDraft
from planner.plan import PlanningContract

TEXTS = {"type": "array", "items": {"type": "string"}}
METHOD = {"type": "string"}


def capability(
    name: str,
    takes: dict[str, Any],
    gives: dict[str, Any],
    *,
    required: tuple[str, ...] = (),
    cost_usd: str = "0",
    seconds: float = 1.0,
    **fields: Any,
) -> Capability:
    return Capability(
        name=name,
        description=f"Do {name}.",
        input_schema={
            "type": "object",
            "properties": takes,
            "required": list(required),
            "additionalProperties": False,
        },
        output_schema={"type": "object", "properties": gives},
        cost_usd=Decimal(cost_usd),
        seconds=seconds,
        **fields,
    )


ANALYST = ArmSpec(
    name="analyst",
    version="1",
    description="Works on texts.",
    capabilities=(
        capability(
            "sentiment",
            {"texts": TEXTS},
            {"sentiment_score": {"type": "number"}, "method": METHOD},
            required=("texts",),
            seconds=2.0,
            synonyms=("mood",),
        ),
        capability(
            "keywords",
            {"texts": TEXTS, "limit": {"type": "integer", "minimum": 1}},
            {"keywords": {"type": "array"}, "method": METHOD},
            required=("texts",),
            cost_usd="0.10",
            seconds=3.0,
        ),
    ),
    is_repeatable=True,
    synonyms=("data_analyst",),
)
RETRIEVER = ArmSpec(
    name="retriever",
    version="1",
    description="Finds documents.",
    capabilities=(
        capability(
            "fetch_documents",
            {"goal": {"type": "string"}},
            {"texts": TEXTS, "count": {"type": "integer"}},
            required=("goal",),
        ),
    ),
    is_repeatable=True,
)
TOOLS = ArmSpec(
    name="tool_executor",
    version="1",
    description="Acts on the world.",
    capabilities=(
        capability(
            "http",
            {
                "host": {"type": "string"},
                "url": {"type": "string"},
                "body": {},
                "headers": {"type": "object"},
            },
            {"status": {"type": "integer"}, "body": {"type": "string"}},
            required=("host",),
            cost_usd="0.30",
            seconds=10.0,
            uses=("network", "tools"),
        ),
    ),
)
PLANNER = ArmSpec(
    name="planner",
    version="1",
    description="Plans.",
    capabilities=(
        capability("planning", {"goal": {}}, {"steps": {}}),
        capability(
            "batch",
            {"items": {"type": "array"}, "size": {"type": "integer"}},
            {"batches": {"type": "array"}, "count": {"type": "integer"}},
        ),
    ),
    is_repeatable=True,
)
JUDGE = ArmSpec(
    name="judge",
    version="1",
    description="Judges.",
    capabilities=(capability("check_criteria", {"result": {}}, {"verdicts": {}}),),
    is_repeatable=True,
)
CATALOGUE = (ANALYST, JUDGE, PLANNER, RETRIEVER, TOOLS)
REVIEWS = ["Great product.", "It broke after a day.", "Fine for the price."]


def make_contract(**overrides: Any) -> PlanningContract:
    fields: dict[str, Any] = {
        "task_id": UUID(int=1),
        "goal": "Analyze sentiment of product reviews",
        "context": {"reviews": list(REVIEWS)},
        "max_cost_usd": Decimal("1.00"),
        "max_time_s": 600.0,
        "max_tokens": 10_000,
    }
    return PlanningContract(**(fields | overrides))


def step(step_id: str, capability_name: str = "sentiment", **fields: Any) -> Any:
    arm = next(
        spec.name
        for spec in CATALOGUE
        if capability_name in [each.name for each in spec.capabilities]
    )
    return {
        "step_id": step_id,
        "description": f"Step {step_id}.",
        "arm": arm,
        "capability": capability_name,
        "input": {"texts": {"$from": "context.reviews"}},
    } | fields


def make_draft(*steps: dict[str, Any], **fields: Any) -> PlanDraft:
    return PlanDraft.model_validate({"steps": list(steps), **fields})


def chain() -> list[dict[str, Any]]:
    """Fetch, then sentiment and keywords of what was fetched."""
    fetched = {"texts": {"$from": "steps.1.texts"}}
    return [
        step("1", "fetch_documents", input={"goal": {"$from": "goal"}}),
        step("2", "sentiment", input=fetched, depends_on=["1"]),
        step("3", "keywords", input=fetched, depends_on=["1"]),
    ]
