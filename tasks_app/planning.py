"""Between a task's row and the planner's values."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from octollm.errors import TaskRejectedError
from planner import plan as plans
from planner.plan import PlannedStep, PlanningContract
from reflex.screening import Checkpoint, screen
from reflex.vault import open_vault
from tasks_app.models import NANO_PER_USD, Plan, Step, Task


def contract_of(task: Task) -> PlanningContract:
    """Return what the planner may know of a task; all of it is concealed."""
    return PlanningContract(
        task_id=task.pk,
        goal=task.goal,
        constraints=tuple(task.constraints),
        acceptance_criteria=tuple(task.acceptance_criteria),
        context=task.context,
        max_cost_usd=to_usd(max(0, task.max_cost_nano - task.spent_nano)),
        max_time_s=float(task.max_time_seconds),
        max_tokens=task.max_tokens,
        assigned_arm=task.assigned_arm,
        knowledge_scope=task.owner_id,
    )


def screened(made: plans.Plan, *, task_id: UUID) -> plans.Plan:
    """Conceal what a model wrote; a recipe holds nothing but the task's own words."""
    if made.source != "model":
        return made
    with open_vault(task_id) as vault:
        outcome = screen(
            plans.to_json(made), checkpoint=Checkpoint.MODEL_OUTPUT, vault=vault
        )
        outcome.save(scope_id=task_id)
    if outcome.is_blocked:
        raise TaskRejectedError(rule_ids=outcome.rule_ids)
    return plans.from_json(outcome.document)


def rows_of(made: plans.Plan, task: Task) -> tuple[Plan, list[Step]]:
    """Return the plan's row and its steps, the judge last."""
    row = Plan(
        source=made.source,
        recipe=made.recipe or "",
        model=made.model or "",
        prompt_version=made.prompt_version or "",
        result=dict(made.result),
        unserved=[list(item) for item in made.unserved],
        repairs=list(made.repairs),
        total_estimated_cost=made.total_estimated_cost,
        total_estimated_time=made.total_estimated_time,
        sum_estimated_time=made.sum_estimated_time,
    )
    free = max(0, task.max_cost_nano - task.spent_nano)
    steps = [_judge_step(made)]
    for planned in made.steps:
        envelope = min(free, to_nano(planned.estimated_cost))
        free -= envelope
        steps.insert(-1, _work_step(planned, envelope_nano=envelope))
    return row, steps


def to_nano(usd: Decimal) -> int:
    """Return dollars as whole nano-dollars, rounded up."""
    return -int(-usd * NANO_PER_USD // 1)


def to_usd(nano: int) -> Decimal:
    """Return nano-dollars as dollars, exact."""
    return Decimal(nano) / NANO_PER_USD


def _work_step(planned: PlannedStep, *, envelope_nano: int) -> Step:
    return Step(
        step_id=planned.step_id,
        kind=Step.Kind.WORK,
        description=planned.description,
        arm=planned.arm,
        capability=planned.capability,
        depends_on=list(planned.depends_on),
        input=planned.input,
        criteria=list(planned.criteria),
        estimated_cost=planned.estimated_cost,
        estimated_time=planned.estimated_time,
        envelope_nano=envelope_nano,
    )


def _judge_step(made: plans.Plan) -> Step:
    return Step(
        step_id="judge",
        kind=Step.Kind.JUDGE,
        description="Judge the result against every criterion",
        arm="judge",
        capability="check_criteria",
        depends_on=[step.step_id for step in made.steps],
    )
