"""The planner's catalogue entry: what it takes and gives."""

from __future__ import annotations

from arms.contract import ArmSpec, Capability
from arms.services import schemas

_BUDGET = schemas.record(
    {
        "max_cost_usd": schemas.anything("USD, as a decimal string."),
        "max_time_seconds": schemas.number(minimum=0),
        "max_tokens": schemas.count(),
    }
)
_PLANNING = Capability(
    name="planning",
    description="Break a goal into steps that arms carry out.",
    input_schema=schemas.record(
        {
            "goal": schemas.text("In plain language."),
            "constraints": schemas.array(schemas.text()),
            "acceptance_criteria": schemas.array(schemas.text()),
            "context": schemas.mapping(schemas.anything()),
            "budget": _BUDGET,
            "assigned_arm": schemas.anything("An arm's name, or null."),
        },
        required=("goal",),
    ),
    output_schema=schemas.record(
        {
            "task_id": schemas.text("Whose plan it is."),
            "source": schemas.one_of(("recipe", "model", "cache", "caller", "memory")),
            "recipe": schemas.anything(),
            "model": schemas.anything(),
            "prompt_version": schemas.anything(),
            "steps": schemas.array(schemas.mapping(schemas.anything())),
            "result": schemas.mapping(schemas.anything()),
            "repairs": schemas.array(schemas.text()),
            "unserved": schemas.array(schemas.array(schemas.anything())),
            "total_estimated_cost": schemas.number("USD.", minimum=0),
            "total_estimated_time": schemas.number("Seconds, critical path."),
            "sum_estimated_time": schemas.number("Seconds, one after the other."),
            "total_estimated_time_p90": schemas.number(
                "Seconds, critical path, if every step is as slow as one in ten."
            ),
            "grants": schemas.mapping(
                schemas.array(schemas.text()),
                "What the plan uses: arms, tools, commands, hosts.",
            ),
        }
    ),
    seconds=5.0,
)
_BATCH = Capability(
    name="batch",
    description="Cut a list into batches of one size, in order.",
    input_schema=schemas.record(
        {
            "items": schemas.array(schemas.anything()),
            "size": schemas.count("Items per batch, 50 if unset.", minimum=1),
        },
        required=("items",),
    ),
    output_schema=schemas.record(
        {
            "batches": schemas.array(schemas.array(schemas.anything())),
            "count": schemas.count("How many batches."),
        }
    ),
    seconds=0.1,
)

# Sees nothing: a plan refers to values and never holds them.
SPEC = ArmSpec(
    name="planner",
    version="1.0",
    description="Breaks goals into steps, by recipes or with a model.",
    capabilities=(_PLANNING, _BATCH),
    is_repeatable=True,
    synonyms=("decomposer", "planning"),
)
