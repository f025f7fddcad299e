"""How long planning without a model takes beside 200 remembered plans.

``python -m tests.planner.bench_recipes``. There is no database in it: documents and
what steps took before are left out, which cost a query each.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

from octollm.types import JSONObject
from planner.memory import RememberedPlan

OWNER = UUID(int=7)
CONTEXT = {"reviews": ["Good.", "Bad."], "orders": "id,amount\n1,2\n2,3\n"}
STEP: JSONObject = {"step_id": "1", "input": {"texts": {"$from": "context.reviews"}}}
_plans: list[RememberedPlan] = []


def remembered(owner: UUID) -> Sequence[RememberedPlan]:
    """Return the same plans, whoever asks."""
    return _plans


def planning() -> Callable[[str], Any]:
    """Return what plans a goal by recipe and looks for earlier plans near it."""
    from arms.registry import catalogue
    from octollm.errors import PlanError
    from planner import memory, observed, recall
    from planner.recipe_planning import plan_by_recipe
    from tests.planner.cases import make_contract

    observed.register("")
    memory.register("tests.planner.bench_recipes.remembered")
    arms = catalogue()

    def plan(goal: str) -> None:
        contract = make_contract(goal=goal, context=CONTEXT)
        with contextlib.suppress(PlanError):
            plan_by_recipe(contract, arms)
        recall.nearest(dataclasses.replace(contract, knowledge_scope=OWNER))

    return plan


def main() -> None:
    """Print median and 95th percentile for goals that fit, open ones and long ones."""
    django.setup()
    from tests.planner import bench_recipes, calibrate

    every = calibrate.all_cases()
    goals = [case.goal for case in every]
    bench_recipes._plans[:] = [
        RememberedPlan(goal=f"{goal} {number}", plan={"steps": [dict(STEP)] * 5})
        for number, goal in enumerate(goals[:200])
    ]
    plan = planning()
    workloads = {
        "fitting": [case.goal for case in every if case.recipes],
        "open-ended": [case.goal for case in every if not case.recipes],
        "10,000 characters": [(f"{goal} " * 10_000)[:10_000] for goal in goals[::20]],
    }
    for name, some in workloads.items():
        timings = []
        for goal in [*some[:5], *some]:
            started = time.perf_counter()
            plan(goal)
            timings.append((time.perf_counter() - started) * 1000)
        timings = sorted(timings[5:])
        sys.stdout.write(
            f"{name}: {len(some)} goals, p50 {statistics.median(timings):.2f} ms, "
            f"p95 {timings[int(len(timings) * 0.95)]:.2f} ms\n"
        )


if __name__ == "__main__":
    main()
