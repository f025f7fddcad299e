"""How long compiling a plan of ten steps takes: ``python -m tests.planner.bench``."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

from planner.compiler import compile_plan
from planner.plan import Plan
from tests.planner.cases import CATALOGUE, make_contract, make_draft, step


def compile_ten_steps(
    *, rounds: int, clock: Callable[[], float] = time.perf_counter
) -> tuple[Plan, list[float]]:
    """Return the plan and the seconds of each round by a clock, sorted."""
    fetched = {"texts": {"$from": "steps.1.texts"}}
    draft = make_draft(
        step("1", "fetch_documents", input={"goal": {"$from": "goal"}}),
        *(
            step(str(n), "keywords", input=fetched | {"limit": n}, depends_on=["1"])
            for n in range(2, 11)
        ),
    )
    given: dict[str, Any] = {
        "contract": make_contract(
            acceptance_criteria=("At least 5 keywords", "No PII")
        ),
        "catalogue": CATALOGUE,
        "source": "model",
    }
    plan, timings = compile_plan(draft, **given), []
    for _ in range(rounds):
        started = clock()
        plan = compile_plan(draft, **given)
        timings.append(clock() - started)
    return plan, sorted(timings)


def main() -> None:
    """Print median and 95th percentile, by the wall clock and of the processor.

    On a busy machine the second is what a quiet one would take.
    """
    for name, clock in (("wall", time.perf_counter), ("processor", time.thread_time)):
        _, timings = compile_ten_steps(rounds=2_000, clock=clock)
        median_ms = statistics.median(timings) * 1000
        p95_ms = timings[int(len(timings) * 0.95)] * 1000
        sys.stdout.write(
            f"compile 10 steps, {name}: p50 {median_ms:.3f} ms, p95 {p95_ms:.3f} ms\n"
        )


if __name__ == "__main__":
    main()
