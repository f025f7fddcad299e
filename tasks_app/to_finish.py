"""What it would still take to finish a task that stopped short; an estimate."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal

from arms import llm
from arms.contract import Capability
from arms.registry import spec_of
from octollm.errors import ArmUnavailableError, ModelError
from octollm.types import JSONObject
from planner.constraints import forbids_model
from planner.estimates import Estimate, estimate, longest_chain_s
from planner.model_planning import MAX_OUTPUT_TOKENS
from planner.observed import observations
from tasks_app.amounts import cost_nano, to_usd
from tasks_app.models import Plan, Step, Task
from tasks_app.planning import JUDGE_INPUT_TOKENS, JUDGE_OUTPUT_TOKENS

# What asking a model for a plan takes with all of the analyst in the prompt.
PLAN_INPUT_TOKENS = 3_000

_ENDED_WELL = (Step.Status.DONE, Step.Status.SUPERSEDED)
_NOT_KNOWN = "the steps of a plan that is not made yet are not known"


@dataclass(frozen=True, kw_only=True)
class Part:
    """What one part of the way is expected to take; ``None`` where nobody knows.

    Attributes:
        basis: where the figures come from.
    """

    usd: Decimal | None = None
    tokens: int | None = None
    seconds: float | None = None
    basis: str


def cost_to_finish(task: Task, plan: Plan | None, steps: Sequence[Step]) -> JSONObject:
    """Return what is left to be paid, as a result tells it.

    A figure is the sum of what is known: ``None`` where that says nothing, and with
    ``at_least`` where some part of it is not known.

    Args:
        task: with its criteria and constraints.
        plan: the current version.
        steps: all of the task.
    """
    parts = list(_parts(task, plan, steps))
    usd = [part.usd for part in parts]
    tokens = [part.tokens for part in parts]
    seconds = [part.seconds for part in parts]
    is_whole = None not in (*usd, *tokens, *seconds)
    cost = sum((each for each in usd if each is not None), start=Decimal(0))
    count = sum(each for each in tokens if each is not None)
    time = round(sum(each for each in seconds if each is not None), 3)
    return {
        "cost_usd": f"{cost:.9f}" if cost or None not in usd else None,
        "tokens": count if count or None not in tokens else None,
        "seconds": time if time or None not in seconds else None,
        "at_least": not is_whole,
        "basis": "; ".join(part.basis for part in parts),
    }


def _parts(task: Task, plan: Plan | None, steps: Sequence[Step]) -> Iterator[Part]:
    """Yield planning, the steps and judging, as far as they are to be done."""
    order = plan.step_ids if plan else []
    by_id = {step.pk: step for step in steps if step.status not in _ENDED_WELL}
    left = [by_id[pk] for pk in order if pk in by_id]
    if not left:
        yield _planning(task)
        if task.plan_only:
            return
        yield Part(basis=_NOT_KNOWN)
    work = [step for step in left if step.kind == Step.Kind.WORK]
    if work:
        yield _working(work)
    yield _judging(task)


def _planning(task: Task) -> Part:
    if not llm.is_configured("planning", task.model) or forbids_model(task.constraints):
        return Part(usd=Decimal(0), tokens=0, seconds=0.0, basis="planning by recipes")
    offer = _offer("planner", "planning")
    return Part(
        usd=_price("planning", task, PLAN_INPUT_TOKENS, MAX_OUTPUT_TOKENS),
        tokens=PLAN_INPUT_TOKENS + MAX_OUTPUT_TOKENS,
        seconds=offer.seconds if offer else None,
        basis="planning by a model at its dearest price",
    )


def _working(steps: Sequence[Step]) -> Part:
    """Return what the steps take: the sum of costs, the longest chain of seconds."""
    expected = [estimate_of(step) for step in steps]
    chain = (
        (step.step_id, step.depends_on, each.seconds)
        for step, each in zip(steps, expected, strict=True)
    )
    tokens = [_tokens(step) for step in steps]
    count = f"{len(steps)} step{'s' if len(steps) != 1 else ''}"
    return Part(
        usd=sum((each.cost_usd for each in expected), start=Decimal(0)),
        tokens=None if None in tokens else sum(each or 0 for each in tokens),
        seconds=longest_chain_s(chain),
        basis=f"{count} by the catalogue and what such steps took before",
    )


def _judging(task: Task) -> Part:
    offer = _offer("judge", "check_criteria")
    seconds = offer.seconds if offer else None
    is_judged = bool(task.acceptance_criteria or task.constraints)
    if not (is_judged and llm.is_configured("judging", task.model)):
        return Part(
            usd=Decimal(0), tokens=0, seconds=seconds, basis="judging without a model"
        )
    return Part(
        usd=_price("judging", task, JUDGE_INPUT_TOKENS, JUDGE_OUTPUT_TOKENS),
        tokens=JUDGE_INPUT_TOKENS + JUDGE_OUTPUT_TOKENS,
        seconds=seconds,
        basis="judging by a model at its dearest price",
    )


def _price(
    purpose: str, task: Task, input_tokens: int, output_tokens: int
) -> Decimal | None:
    """Return USD for one call, or nothing where the model's price is not known."""
    try:
        price = llm.dearest_price(purpose, task.model)
    except ModelError:
        return None
    return to_usd(
        cost_nano(price, input_tokens=input_tokens, output_tokens=output_tokens)
    )


def estimate_of(step: Step) -> Estimate:
    """Return what a step is expected to take now, or was when it was planned."""
    offer = _offer(step.arm, step.capability)
    if offer is None:
        return Estimate(
            cost_usd=step.estimated_cost,
            seconds=step.estimated_time,
            seconds_p90=step.estimated_time_p90,
        )
    return estimate(offer, observations().get((step.arm, step.capability)))


def _tokens(step: Step) -> int | None:
    """Return the tokens that a step takes; of one that asks a model, if it was seen."""
    offer = _offer(step.arm, step.capability)
    if offer is not None and "model" not in offer.uses:
        return 0
    seen = observations().get((step.arm, step.capability))
    return seen.p50_tokens if seen else None


def _offer(arm: str, capability: str) -> Capability | None:
    try:
        return spec_of(arm).capability(capability)
    except ArmUnavailableError:
        return None
