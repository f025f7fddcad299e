"""Between a task's row and the planner's values."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from itertools import chain
from uuid import UUID

from arms import llm
from arms.registry import away, catalogue, spec_of
from octollm.errors import TaskRejectedError
from octollm.types import JSONObject
from planner import plan as plans
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.grants import NOTHING, Grants
from planner.plan import PlannedStep, PlanningContract
from reflex.screening import Checkpoint, screen
from reflex.vault import open_vault
from tasks_app.amounts import Amount, cost_nano, to_nano, to_usd
from tasks_app.models import Approval, Plan, Step, Task
from tasks_app.turn import task_turn

# A task's approval: no person is asked.
NEVER = "never"
# What a judge's question about a middling result takes; a larger one draws on what
# is free.
JUDGE_INPUT_TOKENS = 2_500
JUDGE_OUTPUT_TOKENS = 1_500


def contract_of(task: Task) -> PlanningContract:
    """Return what the planner may know of a task; all of it is concealed.

    What the first plan was granted binds all later ones. What making it has cost is
    not taken off: a resumed step must ask what it asked before, to be answered from
    what was paid for; the ledger takes it off.
    """
    spent_nano = task.spent_nano if task.plan_version else 0
    return PlanningContract(
        task_id=task.pk,
        goal=task.goal,
        constraints=tuple(task.constraints),
        acceptance_criteria=tuple(task.acceptance_criteria),
        context=task.context,
        max_cost_usd=to_usd(max(0, task.max_cost_nano - spent_nano)),
        max_time_s=float(task.max_time_seconds),
        max_tokens=task.max_tokens,
        assigned_arm=task.assigned_arm,
        knowledge_scope=task.owner_id,
        grants=Grants.from_json(task.grants) if task.plan_version else None,
        model=task.model,
        approved=approved_of(task),
        may_ask=task.approval != NEVER,
    )


def approved_of(task: Task) -> Grants:
    """Return what operators have allowed a task beyond the policy."""
    if task.approval == NEVER or not task.plan_version:
        return NOTHING
    pairs = Approval.objects.filter(
        task_id=task.pk,
        state=Approval.State.APPROVED,
        reason=Approval.Reason.GRANTS,
    ).values_list("beyond", flat=True)
    return Grants.of_pairs(chain.from_iterable(pairs))


def compile_given(
    task: Task, *, free_usd: Decimal = Decimal(0), free_s: float = 0.0
) -> plans.Plan:
    """Return the plan that the caller gave, checked and priced as any other.

    ``free_usd`` and ``free_s`` are what the steps in it would take that are done
    already; the budget need not hold them.

    Raises:
        InvalidPlanError: it breaks rules; it carries all violations.
    """
    contract = contract_of(task)
    return compile_draft(
        task.given_plan,
        contract=replace(
            contract,
            max_cost_usd=contract.max_cost_usd + free_usd,
            max_time_s=contract.max_time_s + free_s,
        ),
    )


def compile_draft(
    given: JSONObject | None, *, contract: PlanningContract
) -> plans.Plan:
    """Return the plan that a caller's JSON proposes, for this contract.

    Raises:
        InvalidPlanError: it breaks rules; it carries all violations.
    """
    return compile_plan(
        PlanDraft.model_validate(given),
        contract=replace(contract, away=away()),
        catalogue=catalogue(),
        source="caller",
    )


def screened(made: plans.Plan, *, task_id: UUID) -> plans.Plan:
    """Conceal what a model wrote, also when the cache kept it.

    A recipe holds nothing but the task's own words, and a caller's plan was screened
    with the request.
    """
    if made.source not in ("model", "cache"):
        return made
    with open_vault(task_id) as vault:
        outcome = screen(
            plans.to_json(made), checkpoint=Checkpoint.MODEL_OUTPUT, vault=vault
        )
    # In a turn, so that nothing is written about a task that was deleted meanwhile.
    with task_turn(task_id):
        outcome.save(scope_id=task_id)
    if outcome.is_blocked:
        raise TaskRejectedError(rule_ids=outcome.rule_ids)
    # Which finished steps stay is not for anybody's text to say.
    return replace(plans.from_json(outcome.document), kept=made.kept)


def free_of(task: Task) -> Amount:
    """Return what is neither spent nor held of a task's budget."""
    return Amount(nano=task.free_nano, tokens=task.free_tokens)


def judging_cost(task: Task) -> Amount:
    """Return what judging by a model may cost; nothing when no model will be asked.

    It is set aside with the plan, so that the steps cannot eat it up. May take most
    of a second at first, when the list of prices is read: call it outside a turn.
    """
    is_judged = bool(task.acceptance_criteria or task.constraints)
    if not (is_judged and llm.is_configured("judging", task.model)):
        return Amount()
    price = llm.dearest_price("judging", task.model)
    nano = cost_nano(
        price, input_tokens=JUDGE_INPUT_TOKENS, output_tokens=JUDGE_OUTPUT_TOKENS
    )
    return Amount(nano=nano, tokens=JUDGE_INPUT_TOKENS + JUDGE_OUTPUT_TOKENS)


def rows_of(
    made: plans.Plan,
    *,
    judging: Amount,
    free: Amount,
    judge_id: str = "judge",
    reason: str = "first",
) -> tuple[Plan, list[Step]]:
    """Return the plan's row and its steps with their envelopes, the judge last.

    Of ``free`` the judge has a third at most; the steps share the rest in order.
    ``reason`` is why there is this version.
    """
    row = Plan(
        source=made.source,
        reason=reason,
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
    third = Amount(nano=free.nano // 3, tokens=free.tokens // 3)
    kept = judging.within(third)
    left = free.nano - kept.nano
    steps = []
    for planned in made.steps:
        envelope = max(0, min(left, to_nano(planned.estimated_cost)))
        left -= envelope
        steps.append(_work_step(planned, envelope_nano=envelope))
    judge = _judge_step(made, kept, judging=judging)
    judge.step_id = judge_id
    return row, [*steps, judge]


def _work_step(planned: PlannedStep, *, envelope_nano: int) -> Step:
    return Step(
        step_id=planned.step_id,
        kind=Step.Kind.WORK,
        description=planned.description,
        arm=planned.arm,
        capability=planned.capability,
        queue=spec_of(planned.arm).queue,
        depends_on=list(planned.depends_on),
        input=planned.input,
        criteria=list(planned.criteria),
        estimated_cost=planned.estimated_cost,
        estimated_time=planned.estimated_time,
        estimated_time_p90=planned.estimated_time_p90,
        envelope_nano=envelope_nano,
    )


def _judge_step(made: plans.Plan, kept: Amount, *, judging: Amount) -> Step:
    return Step(
        step_id="judge",
        kind=Step.Kind.JUDGE,
        description="Judge the result against every criterion",
        arm="judge",
        capability="check_criteria",
        depends_on=[*made.kept, *(step.step_id for step in made.steps)],
        estimated_cost=to_usd(judging.nano),
        envelope_nano=kept.nano,
        envelope_tokens=kept.tokens,
    )
