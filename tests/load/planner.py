"""Print how long planning takes, beside the targets: ``make bench-planner``.

Compiling, recipes on the goals of the evaluation, and plans of a model that takes its
time; ``tests.planner.cache_bench`` measures the cache and planning beside the model.
Private engines, and a model's server on a loopback socket in this very process: what
it takes to look at each prompt is counted against us. ``--plans`` and ``--callers``
say how many plans are made by how many threads.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import statistics
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.db import connections
from django.test.utils import override_settings, setup_databases, teardown_databases

if TYPE_CHECKING:
    from planner.plan import PlanningContract
    from tests.fakes import Answer, FakeModel

MODEL_S = (1.0, 3.0)


def main() -> None:
    """Start everything, measure, print."""
    options = _options()
    django.setup()
    from octollm.resilience import outbound
    from tests.engines import running_engines
    from tests.fakes import FakeModel

    with running_engines(), FakeModel() as model:
        databases = setup_databases(verbosity=0, interactive=False)
        provider = {"name": "bench", "base_url": model.base_url, "model": "fake-model"}
        try:
            with override_settings(OCTOLLM_LLM_PROVIDERS=[provider]):
                _measure(model, options)
        finally:
            outbound.shutdown()
            teardown_databases(databases, verbosity=0)


def _measure(model: FakeModel, options: argparse.Namespace) -> None:
    from tests.fakes import completion
    from tests.planner.bench import compile_ten_steps

    _print("compiling ten steps", compile_ten_steps(rounds=1_000)[1], target_ms=1)
    _print("a recipe's plan", _recipe_times(rounds=5), target_ms=None)
    model.default = completion(_plan_text())
    _plan(_contract("warm-up"))
    model.default = _unsteady(model.default)
    with ThreadPoolExecutor(options.callers) as pool:
        slow = list(pool.map(_in_thread, range(options.plans)))
    what = f"a model that answers in {MODEL_S[0]:g} to {MODEL_S[1]:g} s"
    _print(f"{what}, {options.callers} callers", slow, target_ms=5_000)


def _in_thread(number: int) -> float:
    try:
        return _timed(_plan, _contract(f"slow {number}"))
    finally:
        connections.close_all()


def _timed(plan: Callable[[PlanningContract], object], on: PlanningContract) -> float:
    started = time.perf_counter()
    plan(on)
    return time.perf_counter() - started


def _plan(contract: PlanningContract) -> None:
    from planner.planning import make_plan
    from tests.ledgers import make_services

    plan = make_plan(contract, make_services(timeout_s=60.0))
    assert plan.source in ("model", "cache"), plan.repairs


def _recipe_times(*, rounds: int) -> Sequence[float]:
    """Return the times of planning what recipes answer from the context."""
    from octollm.errors import PlanError
    from planner.recipe_planning import plan_by_recipe
    from tests.evaluation.catalogue import evaluation_catalogue
    from tests.evaluation.goals import all_goals

    arms = evaluation_catalogue()
    goals = [g for g in all_goals() if g.kind == "recipe" and not g.documents]

    def plan(contract: PlanningContract) -> None:
        # To refuse takes as long.
        with contextlib.suppress(PlanError):
            plan_by_recipe(contract, arms)

    plan(goals[0].contract())
    return [_timed(plan, goal.contract()) for _ in range(rounds) for goal in goals]


def _contract(which: str) -> PlanningContract:
    from tests.planner.cases import make_contract

    # No recipe fits it.
    goal = f"Prepare the product reviews for the board meeting, {which}"
    return make_contract(goal=goal, acceptance_criteria=("Sentiment score -1 to 1",))


def _plan_text() -> str:
    texts = {"name": "texts", "from": "context.reviews", "value": ""}
    steps: list[dict[str, Any]] = [
        {
            "step_id": str(number),
            "description": f"Work out the {capability}.",
            "arm": "analyst",
            "capability": capability,
            "depends_on": [],
            "inputs": [texts],
            "criteria": [],
        }
        for number, capability in enumerate(("sentiment", "keywords", "summarise"))
    ]
    return json.dumps({"steps": steps})


def _unsteady(answer: Answer) -> Answer:
    from tests.fakes import slow

    def wait(handler: Any) -> None:
        slow(random.uniform(*MODEL_S), answer)(handler)  # noqa: S311  # not a secret

    return wait


def _print(what: str, times_s: Sequence[float], *, target_ms: float | None) -> None:
    ms = [each * 1_000 for each in times_s]
    p95 = statistics.quantiles(ms, n=20)[-1]
    target = "no target" if target_ms is None else f"target p95 {target_ms:g} ms"
    verdict = "" if target_ms is None or p95 <= target_ms else "  MISSED"
    print(
        f"{what}: {len(ms)} plans, p50 {statistics.median(ms):.2f} ms, "
        f"p95 {p95:.2f} ms ({target}){verdict}"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--plans", type=int, default=64)
    parser.add_argument("--callers", type=int, default=4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
