"""How long compiling a plan of ten steps takes: ``python -m tests.planner.bench``."""

from __future__ import annotations

import os
import statistics
import sys
import time

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from planner.compiler import compile_plan
from planner.plan import Plan
from tests.planner.cases import CATALOGUE, make_contract, make_draft, step


def compile_ten_steps(*, rounds: int) -> tuple[Plan, list[float]]:
    """Return the plan and the seconds of each round, sorted."""
    fetched = {"texts": {"$from": "steps.1.texts"}}
    draft = make_draft(
        step("1", "fetch_documents", input={"goal": {"$from": "goal"}}),
        *(
            step(str(n), "keywords", input=fetched | {"limit": n}, depends_on=["1"])
            for n in range(2, 11)
        ),
    )
    contract = make_contract(acceptance_criteria=("At least 5 keywords", "No PII"))
    plans, timings = [], []
    for _ in range(rounds):
        started = time.perf_counter()
        plans.append(
            compile_plan(draft, contract=contract, catalogue=CATALOGUE, source="model")
        )
        timings.append(time.perf_counter() - started)
    return plans[-1], sorted(timings)


def main() -> None:
    """Print median and 95th percentile."""
    _, timings = compile_ten_steps(rounds=2_000)
    median_ms = statistics.median(timings) * 1000
    p95_ms = timings[int(len(timings) * 0.95)] * 1000
    sys.stdout.write(f"compile 10 steps: p50 {median_ms:.3f} ms, p95 {p95_ms:.3f} ms\n")


if __name__ == "__main__":
    main()
