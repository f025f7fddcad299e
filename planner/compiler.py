"""The plan compiler: what decides whether a proposal is a plan.

Plans of models, recipes, callers and the cache all pass here. Every broken rule is
reported at once; what has only one meaning is mended and recorded; what costs time
and money is computed from the catalogue, never taken from the proposal.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from octollm.types import JSONValue
from planner import rules
from planner.candidate import Candidate, Compilation
from planner.criteria import serve_criteria
from planner.draft import PlanDraft, StepDraft
from planner.optimiser import optimise
from planner.plan import Plan, PlannedStep, PlanningContract, Source, reference
from planner.repairs import mend

MAX_DESCRIPTION = 500


def compile_plan(
    draft: PlanDraft,
    *,
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    source: Source,
) -> Plan:
    """Return the plan that ``draft`` proposes, mended and priced.

    Raises:
        InvalidPlanError: rules are broken; it carries one sentence per breach, each
            starting with the rule's id, fit to be shown to a person or a model.
    """
    work = Compilation(
        contract=contract,
        specs={spec.name: spec for spec in catalogue},
        source=source,
        result=dict(draft.result),
        repairs=list(draft.notes),
    )
    for step in draft.steps:
        work.steps.append(_candidate(work, step))
    mend(work)
    _check(work)
    if not work.violations:
        optimise(work)
        _fill_result(work)
    _check_budget(work)
    if work.violations:
        raise InvalidPlanError(violations=tuple(dict.fromkeys(work.violations)))
    return _plan(work, draft)


def _candidate(work: Compilation, step: StepDraft) -> Candidate:
    for field, value in (("arm", step.arm), ("capability", step.capability)):
        if not isinstance(value, str) or not value.strip():
            work.refuse(
                "P014",
                f"step “{step.step_id}”: “{field}” must be a name, written literally.",
            )
    return Candidate(
        step_id=step.step_id,
        description=step.description.strip()[:MAX_DESCRIPTION],
        arm=step.arm if isinstance(step.arm, str) else "",
        capability=step.capability if isinstance(step.capability, str) else "",
        depends_on=list(step.depends_on),
        input=dict(step.input),
        criteria=sorted(set(step.criteria)),
    )


def _check(work: Compilation) -> None:
    rules.check_structure(work)
    for step in work.steps:
        rules.check_arm(work, step)
        rules.check_references(work, step)
        rules.check_input(work, step)
        rules.check_criteria(work, step)
    rules.check_result(work)
    rules.check_wishes(work)


def _fill_result(work: Compilation) -> None:
    """Take the outputs of the last steps when the draft names no result."""
    if work.result:
        return
    for step in work.final_steps():
        outputs = step.offer.output_schema.get("properties") if step.offer else None
        for key in outputs if isinstance(outputs, dict) else ():
            if key not in rules.RESERVED_RESULT_KEYS:
                filled: JSONValue = reference(f"steps.{step.step_id}.{key}")
                work.result.setdefault(key, filled)


def _check_budget(work: Compilation) -> None:
    """P019, P020: the sum of costs and the critical path fit the budget."""
    contract = work.contract
    cost = _total_cost(work)
    if cost > contract.max_cost_usd:
        work.refuse(
            "P019",
            f"The steps cost {cost} USD by the catalogue; the budget is "
            f"{contract.max_cost_usd} USD. Use fewer or cheaper steps.",
        )
    if rules.steps_in_cycles(work.steps):
        return
    seconds = _critical_path_s(work)
    if seconds > contract.max_time_s:
        work.refuse(
            "P020",
            f"The longest chain of steps takes {seconds:g} s by the catalogue; the "
            f"budget is {contract.max_time_s:g} s. Use fewer steps or a shorter chain.",
        )


def _total_cost(work: Compilation) -> Decimal:
    costs = (step.offer.cost_usd for step in work.steps if step.offer)
    return sum(costs, start=Decimal(0))


def _critical_path_s(work: Compilation) -> float:
    """Return the longest chain in seconds; a graph without cycles is expected."""
    waiting = {step.step_id: step for step in work.steps}
    ends: dict[str, float] = {}
    while waiting:
        ready = [
            step for step in waiting.values() if ends.keys() >= set(step.depends_on)
        ]
        for step in ready:
            starts = max((ends[parent] for parent in step.depends_on), default=0.0)
            ends[step.step_id] = starts + _seconds(step)
            del waiting[step.step_id]
    return max(ends.values(), default=0.0)


def _seconds(step: Candidate) -> float:
    return step.offer.seconds if step.offer else 0.0


def _plan(work: Compilation, draft: PlanDraft) -> Plan:
    unserved = serve_criteria(work)
    return Plan(
        source=work.source,
        recipe=draft.recipe,
        model=draft.model,
        prompt_version=draft.prompt_version,
        steps=tuple(_planned(step) for step in work.steps),
        result=work.result,
        repairs=tuple(work.repairs),
        total_estimated_cost=_total_cost(work),
        total_estimated_time=_critical_path_s(work),
        sum_estimated_time=sum(map(_seconds, work.steps)),
        unserved=unserved,
    )


def _planned(step: Candidate) -> PlannedStep:
    offer = step.offer
    return PlannedStep(
        step_id=step.step_id,
        description=step.description or (offer.description if offer else ""),
        arm=step.arm,
        capability=step.capability,
        depends_on=tuple(step.depends_on),
        input=step.input,
        criteria=tuple(sorted(step.criteria)),
        estimated_cost=offer.cost_usd if offer else Decimal(0),
        estimated_time=_seconds(step),
    )
