"""What a plan would cost and how long it would take, said before anything runs; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal

from octollm.types import JSONObject, JSONValue
from planner.plan import Plan, to_json
from tasks_app.amounts import Amount
from tasks_app.models import NANO_PER_USD, Task
from tasks_app.results import Assembly, Finding, assemble


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What a task would take, by the catalogue and what was observed.

    Attributes:
        steps_usd: the sum over the plan's steps.
        judging: what judging by a model is expected to take; nothing without one.
        spent: what planning has taken already.
        p50_s, p90_s: seconds that half and nine of ten such runs stay below, along
            the longest chain of steps.
        beyond: which limits of the budget that exceeds: cost, tokens, time.
    """

    steps_usd: Decimal
    judging: Amount
    spent: Amount
    p50_s: float
    p90_s: float
    beyond: tuple[str, ...]

    @property
    def total_usd(self) -> Decimal:
        """All of it: planning, the steps, judging."""
        return self.steps_usd + _usd(self.judging.nano + self.spent.nano)


def quote_of(made: Plan, judging: Amount, task: Task) -> Quote:
    """Return what a plan would take within a task's budget."""
    quote = Quote(
        steps_usd=made.total_estimated_cost,
        judging=judging,
        spent=Amount(nano=task.spent_nano, tokens=task.spent_tokens),
        p50_s=made.total_estimated_time,
        p90_s=max(made.total_estimated_time, made.total_estimated_time_p90),
        beyond=(),
    )
    limits = {
        "cost": quote.total_usd > task.max_cost_usd,
        "tokens": quote.spent.tokens + judging.tokens > task.max_tokens,
        "time": quote.p90_s > task.max_time_seconds,
    }
    return replace(
        quote, beyond=tuple(name for name, is_over in limits.items() if is_over)
    )


def quoted(made: Plan, quote: Quote, *, findings: Sequence[Finding]) -> Assembly:
    """Return the result of a task that was only planned; it claims nothing more."""
    values: JSONObject = {
        "answer": _answer(made, quote),
        "plan": to_json(made),
        "quote": _quote(quote),
    }
    assembly = assemble(values, steps=(), findings=findings)
    unrun: JSONObject = {
        "fully_verified": False,
        "confidence_reason": "Nothing was run: the task was only planned.",
    }
    return replace(assembly, data=assembly.data | unrun)


def _quote(quote: Quote) -> JSONObject:
    return {
        "steps_cost_usd": _money(quote.steps_usd),
        "judging_cost_usd": _money(_usd(quote.judging.nano)),
        "judging_tokens": quote.judging.tokens,
        "planning_cost_usd": _money(_usd(quote.spent.nano)),
        "planning_tokens": quote.spent.tokens,
        "total_cost_usd": _money(quote.total_usd),
        "time_seconds_p50": quote.p50_s,
        "time_seconds_p90": quote.p90_s,
        "fits_budget": not quote.beyond,
        "beyond_budget": list[JSONValue](quote.beyond),
    }


def _answer(made: Plan, quote: Quote) -> str:
    fit = f"it exceeds the budget in {', '.join(quote.beyond)}"
    count = len(made.steps)
    return (
        f"A plan of {count} step{'s' if count != 1 else ''}, not run: "
        f"{quote.total_usd:.6f} USD with planning and judging, {quote.p50_s:g} s, "
        f"slow runs {quote.p90_s:g} s; "
        f"{fit if quote.beyond else 'it fits the budget'}."
    )


def _usd(nano: int) -> Decimal:
    return Decimal(nano) / NANO_PER_USD


def _money(usd: Decimal) -> str:
    return f"{usd:.9f}"
