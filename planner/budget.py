"""What a plan costs and takes as a whole, and whether that fits: P019, P020, N001, N002."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal

from arms.token_counts import estimate_tokens
from octollm.types import JSONValue
from planner.candidate import Candidate, Compilation
from planner.estimates import Estimate
from planner.plan import reference_path, resolve, step_of
from planner.rules import steps_in_cycles


def check_budget(work: Compilation) -> None:
    """P019, P020: the sum of costs and the critical path fit the budget.

    A plan is refused by what half of its steps stay below, not by what nine of ten
    do: rarely are all of them late at once, and the deadline guards the rest.
    """
    contract = work.contract
    cost = total_cost(work)
    if cost > contract.max_cost_usd:
        work.refuse(
            "P019",
            f"The steps cost {cost} USD by the catalogue and what was observed; the "
            f"budget is {contract.max_cost_usd} USD. Use fewer or cheaper steps.",
        )
    if steps_in_cycles(work.steps):
        return
    seconds = critical_path_s(work, _p50)
    if seconds > contract.max_time_s:
        work.refuse(
            "P020",
            f"The longest chain of steps takes {seconds:g} s by the catalogue and what "
            f"was observed; the budget is {contract.max_time_s:g} s. Use fewer steps "
            "or a shorter chain.",
        )


def warn_of_time(work: Compilation) -> None:
    """N001: say that the time may not do if the steps take as long as they may."""
    slow = critical_path_s(work, _p90)
    if slow > work.contract.max_time_s:
        work.note(
            "N001",
            f"The steps may take {slow:g} s if each is as slow as one in ten; the "
            f"budget is {work.contract.max_time_s:g} s.",
        )


def warn_of_tokens(work: Compilation) -> None:
    """N002: say that models are to read more than the tokens allow.

    What later steps will read of earlier ones is not known yet and counts nothing;
    the ledger decides when the calls are made.
    """
    asking = [step for step in work.steps if step.offer and "model" in step.offer.uses]
    tokens = sum(
        estimate_tokens(json.dumps(_known(work, step.input), ensure_ascii=False))
        for step in asking
    )
    if tokens > work.contract.max_tokens:
        work.note(
            "N002",
            f"Models are to read some {tokens} tokens; the budget is "
            f"{work.contract.max_tokens} tokens.",
        )


def total_cost(work: Compilation) -> Decimal:
    """Return USD, the sum over all steps."""
    costs = (work.estimate(step).cost_usd for step in work.steps)
    return sum(costs, start=Decimal(0))


def total_times_s(work: Compilation) -> tuple[float, float, float]:
    """Return seconds: the critical path, the same if all are slow, and the sum."""
    total = sum(_p50(work.estimate(step)) for step in work.steps)
    return (
        critical_path_s(work, _p50),
        critical_path_s(work, _p90),
        round(total, 3),
    )


def critical_path_s(work: Compilation, time_of: Callable[[Estimate], float]) -> float:
    """Return the longest chain in seconds; a graph without cycles is expected."""
    waiting = {step.step_id: step for step in work.steps}
    ends = {step.step_id: 0.0 for step in work.finished if step.step_id not in waiting}
    while waiting:
        for step in _ready(waiting, ends):
            starts = max((ends[parent] for parent in step.depends_on), default=0.0)
            ends[step.step_id] = starts + time_of(work.estimate(step))
            del waiting[step.step_id]
    return round(max(ends.values(), default=0.0), 3)


def _known(work: Compilation, value: JSONValue) -> JSONValue:
    """Return an input with what the goal and the context put into it."""
    path = reference_path(value)
    if path is not None:
        if step_of(path) is not None:
            return None
        contract = work.contract
        return resolve(value, goal=contract.goal, context=contract.context, outputs={})
    if isinstance(value, dict):
        return {key: _known(work, member) for key, member in value.items()}
    if isinstance(value, list):
        return [_known(work, member) for member in value]
    return value


def _ready(waiting: dict[str, Candidate], ends: dict[str, float]) -> list[Candidate]:
    return [step for step in waiting.values() if ends.keys() >= set(step.depends_on)]


def _p50(estimate: Estimate) -> float:
    return estimate.seconds


def _p90(estimate: Estimate) -> float:
    return estimate.seconds_p90
