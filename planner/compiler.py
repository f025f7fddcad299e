"""The plan compiler: what decides whether a proposal is a plan.

Plans of models, recipes, callers and the cache all pass here. Every broken rule is
reported at once; what has only one meaning is mended and recorded; what costs time
and money is computed from the catalogue and from what was observed, never taken from
the proposal. ``rulebook.py`` lists the rules; compiling a compiled plan again changes
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from octollm.types import JSONValue
from planner import budget, dataflow, permissions, revising, rules
from planner.candidate import Candidate, Compilation
from planner.criteria import serve_criteria
from planner.draft import PlanDraft, StepDraft
from planner.grants import policy
from planner.observed import observations
from planner.optimiser import optimise
from planner.plan import Plan, PlannedStep, PlanningContract, Source, reference
from planner.repairs import mend

MAX_DESCRIPTION = 500
# Of the JSON of all steps and the result; a context has 50,000 at most.
MAX_PLAN_CHARACTERS = 200_000
# More would not be read; mending these shows the rest.
MAX_VIOLATIONS = 50


def compile_plan(
    draft: PlanDraft,
    *,
    contract: PlanningContract,
    catalogue: Sequence[ArmSpec],
    source: Source,
) -> Plan:
    """Return the plan that ``draft`` proposes, mended and priced.

    Args:
        draft: what is proposed; nothing in it is trusted.
        contract: what is wanted, which arms are away, what the task was granted and
            whether a person may be asked for more.
        catalogue: all arms there are, those that are away too.
        source: who made the draft.

    Raises:
        InvalidPlanError: rules are broken; it carries one sentence per breach, each
            starting with the rule's id, fit to be shown to a person or a model.
    """
    work = Compilation(
        contract=contract,
        specs={spec.name: spec for spec in catalogue},
        source=source,
        observations=observations(),
        policy=policy().joined(contract.approved),
        result=dict(draft.result),
        repairs=list(draft.notes),
    )
    _check_size(draft)
    work.steps = [_candidate(work, step) for step in draft.steps]
    revising.take_finished(work, replaces=draft.replaces)
    mend(work)
    _check(work)
    if not work.violations:
        optimise(work)
        revising.name_steps(work)
        _fill_result(work)
    budget.check_budget(work)
    _raise_violations(work.violations)
    budget.warn_of_time(work)
    budget.warn_of_tokens(work)
    return _plan(work, draft)


def _check_size(draft: PlanDraft) -> None:
    """P023: the one rule that stops, because the others would take long."""
    steps: list[JSONValue] = [
        [step.step_id, [*step.depends_on], step.input, [*step.criteria]]
        for step in draft.steps
    ]
    size = len(json.dumps([steps, draft.result]))
    if size > MAX_PLAN_CHARACTERS:
        _raise_violations(
            [
                f"P023: The plan has {size} characters, {MAX_PLAN_CHARACTERS} are the "
                "limit; refer to values in the context instead of repeating them."
            ]
        )


def _raise_violations(violations: Sequence[str]) -> None:
    found = tuple(dict.fromkeys(violations))
    if len(found) > MAX_VIOLATIONS:
        more = len(found) - MAX_VIOLATIONS
        found = (
            *found[:MAX_VIOLATIONS],
            f"P024: {more} more rules are broken; mend these first.",
        )
    if found:
        raise InvalidPlanError(violations=found)


def _candidate(work: Compilation, step: StepDraft) -> Candidate:
    candidate = Candidate(
        step_id=step.step_id,
        description=step.description.strip()[:MAX_DESCRIPTION].rstrip(),
        arm=step.arm.strip() if isinstance(step.arm, str) else "",
        capability=step.capability.strip() if isinstance(step.capability, str) else "",
        depends_on=list(step.depends_on),
        input=dict(step.input),
        criteria=sorted(set(step.criteria)),
    )
    for name, value in (("arm", step.arm), ("capability", step.capability)):
        # What is left blank may still be found out; a reference never.
        if not isinstance(value, str | None):
            rules.refuse_unwritten(work, candidate, name)
    return candidate


def _check(work: Compilation) -> None:
    rules.check_structure(work)
    revising.check_repeats(work)
    for step in work.steps:
        rules.check_arm(work, step)
        dataflow.check_references(work, step)
        dataflow.check_input(work, step)
        rules.check_criteria(work, step)
    dataflow.check_result(work)
    rules.check_wishes(work)
    permissions.check_grants(work)


def _fill_result(work: Compilation) -> None:
    """Take the outputs of the last steps when the draft names no result.

    A later version has what stays of the one before, too.
    """
    if work.result:
        return
    if revising.is_result_kept(work):
        revising.carry_result(work)
    for step in work.final_steps():
        outputs = step.offer.output_schema.get("properties") if step.offer else None
        for key in outputs if isinstance(outputs, dict) else ():
            if key not in dataflow.RESERVED_RESULT_KEYS:
                filled: JSONValue = reference(f"steps.{step.step_id}.{key}")
                work.result.setdefault(key, filled)
    revising.carry_result(work)


def _plan(work: Compilation, draft: PlanDraft) -> Plan:
    unserved = serve_criteria(work)
    fast, slow, total = budget.total_times_s(work)
    return Plan(
        source=work.source,
        recipe=draft.recipe,
        model=draft.model,
        prompt_version=draft.prompt_version,
        steps=tuple(_planned(work, step) for step in work.steps),
        kept=tuple(step.step_id for step in work.kept),
        result=work.result,
        repairs=tuple(dict.fromkeys(work.repairs)),
        total_estimated_cost=budget.total_cost(work),
        total_estimated_time=fast,
        total_estimated_time_p90=slow,
        sum_estimated_time=total,
        grants=permissions.grants_of(work),
        beyond=permissions.beyond(work),
        unserved=unserved,
    )


def _planned(work: Compilation, step: Candidate) -> PlannedStep:
    expected = work.estimate(step)
    return PlannedStep(
        step_id=step.step_id,
        description=step.description or (step.offer.description if step.offer else ""),
        arm=step.arm,
        capability=step.capability,
        depends_on=tuple(step.depends_on),
        input=step.input,
        criteria=tuple(sorted(step.criteria)),
        estimated_cost=expected.cost_usd,
        estimated_time=expected.seconds,
        estimated_time_p90=expected.seconds_p90,
    )
