"""How often the plan cache helps: ``python -m tests.planner.hit_rate [--requests N]``.

A rate says nothing without a workload. Here requests draw one of so many goals, the
k-th as often as 1 / k**s (Zipf; s = 0: all alike), and warm the cache up before they
are counted. Key, claim, seal and compiler are the real ones, and so is the Valkey;
in the model's place a plan is made that names the request it is for, so that a hit
on another request's plan is seen and counted as wrong.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

from tests.planner.cache_bench import cache_engines

import django  # isort: skip  # the module above names the settings
from django.test.utils import override_settings

TTL_S = 24 * 3600.0
EXPONENTS = (0.0, 0.8, 1.0, 1.2)

# The number of a goal and of a variant of its constraints.
Request: TypeAlias = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """What is asked for.

    Attributes:
        goals: how many different ones there are.
        warm_up: requests before any is counted.
        variants: how many sets of constraints each goal comes with, drawn evenly.
    """

    goals: int
    warm_up: int
    variants: int = 1

    def stream(self, s: float, *, seed: int) -> Iterator[Request]:
        """Yield requests without end; the same for the same seed."""
        chance = random.Random(seed)  # noqa: S311  # draws a workload
        weights = list(itertools.accumulate(1 / k**s for k in range(1, self.goals + 1)))
        numbers = range(self.goals)
        while True:
            (number,) = chance.choices(numbers, cum_weights=weights)
            yield number, chance.randrange(self.variants)


WORKLOADS = (
    Workload(goals=1_000, warm_up=500),
    Workload(goals=100_000, warm_up=500),
    Workload(goals=100_000, warm_up=2_000),
    Workload(goals=100_000, warm_up=500, variants=4),
)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """What came of the counted requests."""

    hits: int
    wrong: int
    count: int

    def __str__(self) -> str:
        """Show the rate, and what must not be."""
        wrong = f" ({self.wrong} WRONG)" if self.wrong else ""
        return f"{self.hits / self.count:6.1%}{wrong}"


def main() -> None:
    """Run every workload and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    django.setup()
    began = time.monotonic()
    with (
        cache_engines(),
        override_settings(
            OCTOLLM_PLAN_CACHE_TTL_S=TTL_S,
            OCTOLLM_LLM_BASE_URL="http://127.0.0.1:9/v1",
            OCTOLLM_LLM_MODEL="none",
        ),
    ):
        wrong = _print_table(options.requests, seed=options.seed)
    sys.stdout.write(f"{wrong} wrong hits; {time.monotonic() - began:.0f} s\n")
    sys.exit(1 if wrong else 0)


def _print_table(requests: int, *, seed: int) -> int:
    """Print the hit rates and return how many hits were wrong."""
    sys.stdout.write(
        f"hit rate of {requests} requests after warm-up, exact keys, TTL 24 h, "
        f"seed {seed}\n"
        f"{'goals':>8}{'variants':>10}{'warm-up':>9}"
        + "".join(f"   s={s:<4g}" for s in EXPONENTS)
        + "\n"
    )
    wrong = 0
    for workload in WORKLOADS:
        tallies = [
            run(workload.stream(s, seed=seed), workload.warm_up, requests)
            for s in EXPONENTS
        ]
        wrong += sum(tally.wrong for tally in tallies)
        sys.stdout.write(
            f"{workload.goals:>8}{workload.variants:>10}{workload.warm_up:>9}"
            + "".join(f"  {tally}" for tally in tallies)
            + "\n"
        )
        sys.stdout.flush()
    fresh = run(((number, 0) for number in itertools.count()), 500, requests)
    sys.stdout.write(f"no request twice: {fresh}\n")
    return wrong + fresh.wrong


def run(stream: Iterator[Request], warm_up: int, count: int) -> Tally:
    """Send requests to an empty cache; count those after the warm-up."""
    from tests.planner.cache_cases import empty_cache

    empty_cache()
    served = [_serve(request) for request in itertools.islice(stream, warm_up + count)]
    counted = served[warm_up:]
    return Tally(
        hits=counted.count("hit"), wrong=counted.count("wrong"), count=len(counted)
    )


def _serve(request: Request) -> str:
    from arms.registry import catalogue
    from planner.compiler import compile_plan
    from planner.draft import PlanDraft
    from planner.plan import Plan
    from planner.shared_planning import SharedPlanning
    from tests.ledgers import make_services
    from tests.planner.cache_cases import GOOD_STEPS
    from tests.planner.cases import make_contract

    number, variant = request
    contract = make_contract(
        goal=f"Prepare overview {number} of the product reviews",
        constraints=(f"At least {variant} figures",),
    )
    name = f"Prepare overview {number}, at least {variant} figures."
    texts = {"texts": {"$from": "context.reviews"}}

    class WithoutModel(SharedPlanning):
        def _by_model(self) -> Plan:
            steps = [
                each | {"description": name, "input": texts} for each in GOOD_STEPS
            ]
            draft = PlanDraft.model_validate({"steps": steps, "model": "none"})
            return compile_plan(
                draft, contract=contract, catalogue=catalogue(), source="model"
            )

    plan = WithoutModel(
        contract=contract, catalogue=catalogue(), services=make_services()
    ).plan()
    if {step.description for step in plan.steps} != {name}:
        return "wrong"
    return "hit" if plan.source == "cache" else "miss"


if __name__ == "__main__":
    main()
