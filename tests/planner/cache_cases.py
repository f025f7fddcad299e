"""What the tests and measurements of the plan cache share."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from typing import Any

from prometheus_client import REGISTRY

from octollm.embedded import engines
from octollm.embedded.account import engine_account
from octollm.embedded.engines import Valkey, prepare_home
from octollm.embedded.layout import engine_layout
from octollm.resilience import redis_client
from planner.plan import Plan
from planner.planning import make_plan
from tests import fakes
from tests.ledgers import MemoryMeter, make_services
from tests.planner.cases import make_contract
from tests.up import new_data_dir

# No recipe fits it, so what the model does decides.
OPEN_GOAL = "Prepare the product reviews for the board meeting"
# A recipe does fit this one.
RECIPE_GOAL = "Analyze sentiment of product reviews"


def model_step(step_id: str, capability: str = "sentiment", **fields: Any) -> Any:
    texts = {"name": "texts", "from": "context.reviews", "value": ""}
    return {
        "step_id": step_id,
        "description": f"Step {step_id}.",
        "arm": "analyst",
        "capability": capability,
        "depends_on": [],
        "inputs": [texts],
        "criteria": [],
    } | fields


GOOD_STEPS = [
    model_step("1"),
    model_step("2", "keywords"),
    model_step("3", "summarise"),
]


def plan_text(*steps: Any) -> str:
    return json.dumps({"steps": list(steps or GOOD_STEPS)})


GOOD = plan_text()


def planned(
    meter: MemoryMeter | None = None,
    *,
    timeout_s: float = 20.0,
    goal: str = OPEN_GOAL,
    **contract: Any,
) -> Plan:
    return make_plan(
        make_contract(goal=goal, **contract), make_services(meter, timeout_s=timeout_s)
    )


def when(ready: threading.Event, answer: fakes.Answer) -> fakes.Answer:
    """Give ``answer`` as soon as the test says so."""

    def wait(handler: Any) -> None:
        while not ready.is_set():
            if handler.peer_left(within_s=0.02):
                return
        answer(handler)

    return wait


def keys_of(kind: str) -> list[str]:
    """Return the names under which the cache keeps something of a kind."""
    return sorted(redis_client.client().scan_iter(f"octollm:plan:{kind}:*"))


def empty_cache() -> None:
    for name in keys_of("*"):
        redis_client.client().delete(name)


class Outcomes:
    """How often planning ended in each way since this was made."""

    def __init__(self) -> None:
        self._before = self._now()

    def new(self) -> dict[str, int]:
        now = self._now()
        return {
            outcome: count - self._before.get(outcome, 0)
            for outcome, count in now.items()
            if count > self._before.get(outcome, 0)
        }

    def _now(self) -> dict[str, int]:
        return {
            sample.labels["outcome"]: int(sample.value)
            for family in REGISTRY.collect()
            for sample in family.samples
            if sample.name == "octollm_plan_cache_total"
        }


@contextlib.contextmanager
def private_valkey() -> Iterator[tuple[str, int]]:
    """Start a Valkey that a test may harm; give its address and process id."""
    with new_data_dir() as home:
        layout, account = engine_layout(home), engine_account()
        valkey = Valkey(
            layout,
            binaries=prepare_home(layout, account),
            account=account,
            log=home / "valkey.log",
        )
        process = engines.start(valkey)
        try:
            yield layout.redis_url, process.pid
        finally:
            engines.stop(valkey, process)
