"""From trials to figures: what was reached, per kind of goal and in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from planner.plan import Plan, to_json
from planner.rules import MIN_STEPS
from tests.evaluation.goals import KINDS, GoldStep
from tests.evaluation.scores import (
    Graph,
    Match,
    best_match,
    percentile,
    pooled,
    share,
)
from tests.evaluation.trial import Source, Trial

Outcome = Literal["plan", "refusal", "either"]
# How the recipes say what a goal expects of them.
_REFUSALS = {
    "refuse": "needs_model",
    "missing_input": "missing_input",
    "invalid_plan": "invalid_plan",
}


@dataclass(frozen=True, kw_only=True)
class Score:
    """What one trial counts; ``None`` where something does not apply.

    Attributes:
        is_planned: whether a plan came where one was expected.
        is_executable: a plan came, and the compiler passed it.
        is_executed: its steps ran through the arms without an error.
        is_within_budget: the plan's cost and time, and what planning itself used.
        covered: share of the criteria that a step serves, 0.0 to 1.0.
        is_refused_rightly: no plan came where none was expected, for the reason
            expected.
    """

    trial: Trial
    is_executable: bool | None = None
    is_executed: bool | None = None
    is_within_budget: bool | None = None
    covered: float | None = None
    match: Match = field(default_factory=Match)
    is_refused_rightly: bool | None = None


def expected(trial: Trial, source: Source) -> Outcome:
    """Return what should come of a goal when it is planned from this source."""
    goal = trial.goal
    if source == "recipes":
        if goal.recipes == "may":
            return "either"
        return "plan" if goal.recipes == "plan" else "refusal"
    if goal.kind in ("missing_input", "impossible"):
        return "refusal"
    # What no listed arm can do, a model may still come near to.
    return "plan" if goal.gold else "either"


def score(trial: Trial, source: Source) -> Score:
    """Return what the trial counts."""
    outcome = expected(trial, source)
    if outcome == "refusal":
        return Score(trial=trial, is_refused_rightly=_is_refusal(trial, source))
    if trial.plan is None and outcome == "either":
        return Score(trial=trial)
    golds = [graph_of_gold(steps) for steps in trial.goal.gold]
    graph = graph_of(trial.plan) if trial.plan else Graph()
    return Score(
        trial=trial,
        is_executable=trial.plan is not None,
        is_executed=trial.execution == "done" if trial.execution else None,
        is_within_budget=_is_within_budget(trial),
        covered=_covered(trial),
        match=best_match(graph, golds, fewest=MIN_STEPS if source == "model" else 0),
    )


def graph_of(plan: Plan) -> Graph:
    """Return a plan as far as it is compared."""
    names = {step.step_id: f"{step.arm}.{step.capability}" for step in plan.steps}
    return Graph(
        nodes=tuple(names.values()),
        edges=tuple(
            (names[parent], names[step.step_id])
            for step in plan.steps
            for parent in step.depends_on
        ),
    )


def graph_of_gold(steps: Sequence[GoldStep]) -> Graph:
    """Return a gold plan as far as it is compared."""
    names = {step.id: step.do for step in steps}
    return Graph(
        nodes=tuple(names.values()),
        edges=tuple(
            (names[parent], step.do) for step in steps for parent in step.depends_on
        ),
    )


def figures(scores: Sequence[Score]) -> dict[str, Any]:
    """Return the figures of these scores; shares are 0.0 to 1.0, ``None`` unknown."""
    trials = [each.trial for each in scores]
    match = pooled(each.match for each in scores)
    latencies = [trial.latency_s for trial in trials]
    # Where no plan is wanted, an answer that holds none is no fault.
    firsts = [
        each.trial.first
        for each in scores
        if each.trial.first and each.is_executable is not None
    ]
    return {
        "trials": len(trials),
        "schema_valid_first_try": share(first.fits_schema for first in firsts),
        "readable_after_repair": share(first.is_readable for first in firsts),
        "executable_first_try": share(first.is_executable for first in firsts),
        "executable": share(each.is_executable for each in scores),
        "executed": share(each.is_executed for each in scores),
        "within_budget": share(each.is_within_budget for each in scores),
        "criteria_covered": share(each.covered for each in scores),
        "arm_f1": match.nodes.f1,
        "edge_f1": match.edges.f1,
        "refused_rightly": share(each.is_refused_rightly for each in scores),
        "latency_p50_s": percentile(latencies, 50),
        "latency_p95_s": percentile(latencies, 95),
        "model_calls": sum(trial.calls for trial in trials),
        "tokens": sum(trial.tokens for trial in trials),
        "cost_usd": str(sum(trial.cost_usd for trial in trials)),
        "open_charges": sum(not trial.is_settled for trial in trials),
    }


def report(trials: Sequence[Trial], source: Source) -> dict[str, Any]:
    """Return everything as JSON: figures in all and per kind, and each trial."""
    scores = [score(trial, source) for trial in trials]
    kinds = {
        kind: figures([each for each in scores if each.trial.goal.kind == kind])
        for kind in KINDS
    }
    return {
        "source": source,
        "total": figures(scores),
        "kinds": {kind: shown for kind, shown in kinds.items() if shown["trials"]},
        "goals": [_row(each) for each in scores],
    }


def table(shown: dict[str, Any]) -> str:
    """Return the figures as lines: one per figure, a column per kind and the total."""
    columns = {**shown["kinds"], "total": shown["total"]}
    lines = [" " * 24 + "".join(f"{name:>18}" for name in columns)]
    for name in shown["total"]:
        values = "".join(f"{_cell(each[name]):>18}" for each in columns.values())
        lines.append(f"{name:<24}{values}")
    return "\n".join(lines)


def failures(shown: dict[str, Any]) -> list[str]:
    """Return one line per try that did not end as it should, or by other arms."""
    return [
        f"{row['id']} ({row['kind']}): {row['error'] or row['execution'] or 'planned'}"
        f"; {row['capabilities']}"
        for row in shown["goals"]
        if not row["is_as_expected"] or row["arm_f1"] not in (1.0, None)
    ]


def _row(each: Score) -> dict[str, Any]:
    trial = each.trial
    plan = trial.plan
    flags = (each.is_executable, each.is_executed, each.is_within_budget)
    return {
        "id": trial.goal.id,
        "kind": trial.goal.kind,
        "is_as_expected": all(
            flag is not False for flag in (*flags, each.is_refused_rightly)
        ),
        "error": trial.error,
        "execution": trial.execution,
        "capabilities": " ".join(graph_of(plan).nodes) if plan else "",
        "arm_f1": each.match.nodes.f1,
        "edge_f1": each.match.edges.f1,
        "criteria_covered": each.covered,
        "latency_s": round(trial.latency_s, 6),
        "plan": to_json(plan) if plan else None,
    }


def _is_refusal(trial: Trial, source: Source) -> bool:
    if source == "model":
        return bool(trial.error)
    if trial.goal.kind == "not_runnable_yet" and trial.error == "missing_input":
        # What is to be fetched or made first is not there yet: as honest an answer.
        return True
    return trial.error == _REFUSALS[trial.goal.recipes]


def _is_within_budget(trial: Trial) -> bool:
    plan, budget = trial.plan, trial.goal.budget
    return (
        plan is not None
        and plan.total_estimated_cost + trial.cost_usd <= budget.max_cost_usd
        and plan.total_estimated_time <= budget.max_time_s
        and trial.tokens <= budget.max_tokens
    )


def _covered(trial: Trial) -> float | None:
    total = len(trial.goal.criteria)
    if not total:
        return None
    if trial.plan is None:
        return 0.0
    served = {index for step in trial.plan.steps for index in step.criteria}
    return len(served) / total


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
