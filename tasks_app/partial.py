"""What a result says of a task that stopped short: where, why, and what is left."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from octollm.types import JSONObject, JSONValue
from tasks_app.models import Plan, Step, Task
from tasks_app.results import Finding
from tasks_app.to_finish import cost_to_finish

# Which limit of the budget a task's stop reason names, and the column of its cap.
LIMITS: Mapping[str, str] = MappingProxyType(
    {"budget_cost": "cost", "budget_tokens": "tokens", "deadline": "time"}
)
CAPS: Mapping[str, str] = MappingProxyType(
    {
        "budget_cost": "max_cost_usd",
        "budget_tokens": "max_tokens",
        "deadline": "max_time_seconds",
    }
)
# Where only a larger budget lets a task go on; the clock is each run's own.
BUDGET_REASONS = frozenset({"budget_cost", "budget_tokens"})
# Without these parts, which retention removes, done steps are of no use any more.
REMOVED = frozenset({"results", "vault"})
# What the estimate reads of a step; outputs may be large.
_READ = (
    *("id", "step_id", "kind", "arm", "capability", "depends_on", "status"),
    *("estimated_cost", "estimated_time", "estimated_time_p90"),
)


def shortfall(
    task: Task, *, locked: Task, findings: Sequence[Finding], stop_reason: str
) -> JSONObject:
    """Return the members that a result has beside what was reached.

    Args:
        task: whole, with its criteria and constraints.
        locked: the same task as it stands in this turn, before it is closed.
        findings: what is known of each criterion.
        stop_reason: why it stops.
    """
    plan = Plan.objects.filter(task_id=task.pk, version=locked.plan_version).first()
    steps = list(Step.objects.filter(task_id=task.pk).only(*_READ))
    return {
        "stopped": {
            "reason": stop_reason,
            "limit": LIMITS.get(stop_reason),
            "at_stage": locked.stage,
            "spent_at_stop": {
                "cost_usd": f"{locked.spent_usd:.9f}",
                "tokens": locked.spent_tokens,
                "seconds": locked.seconds_run,
            },
        },
        "unmet_criteria": [_unmet(f) for f in findings if f.verdict != "met"],
        "cost_to_finish": cost_to_finish(task, plan, steps),
    }


def has_more(task: Task, *, since: Task, stop_reason: str) -> bool:
    """Tell whether the cap that would stop a task was raised since a worker read it."""
    cap = CAPS[stop_reason]
    return bool(getattr(task, cap) > getattr(since, cap))


def _unmet(finding: Finding) -> JSONValue:
    return {
        "criterion": finding.criterion,
        "kind": finding.kind,
        "verdict": finding.verdict,
        "why": finding.evidence,
    }
