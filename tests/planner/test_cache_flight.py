"""Of callers who want the same plan at the same time, one asks the model."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from arms.contract import ArmServices
from octollm.embedded.processes import kill_group
from octollm.errors import BudgetExceededError, CallCancelledError
from octollm.resilience.deadline import StopToken
from planner.plan import Plan
from planner.planning import make_plan
from tests import fakes
from tests.engines import TestEngines
from tests.fakes import FakeModel
from tests.ledgers import MemoryMeter, make_services
from tests.planner import callers
from tests.planner.cache_cases import GOOD, OPEN_GOAL, Outcomes, keys_of, planned, when
from tests.planner.cases import make_contract
from tests.waiting import wait_until

# Other processes and threads must see what is there, and leave rows behind.
pytestmark = pytest.mark.django_db(transaction=True)


class WatchedStop(StopToken):
    """A clock that tells when its owner waits for others: it is looked at again."""

    def __init__(self, timeout_s: float = 20.0) -> None:
        super().__init__(timeout_s)
        self.is_waiting = threading.Event()
        self._looks = 0

    def check(self) -> None:
        self._looks += 1
        if self._looks > 1:
            self.is_waiting.set()
        super().check()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as pool:
        yield pool


def services(stop: StopToken, meter: MemoryMeter | None = None) -> ArmServices:
    return replace(make_services(meter), stop=stop)


def plan_with(given: ArmServices) -> Plan:
    try:
        return make_plan(make_contract(goal=OPEN_GOAL), given)
    finally:
        connections.close_all()


def leading(
    pool: ThreadPoolExecutor, model: FakeModel, stop: StopToken
) -> Future[Plan]:
    """Start a caller and wait until it has asked the model."""
    leader = pool.submit(plan_with, services(stop))
    wait_until(lambda: model.requests, interval_s=0.01)
    return leader


def start_callers(
    engines: TestEngines, model: FakeModel, directory: Path, *, count: int
) -> Any:
    """Start a process of callers, who wait for the file ``go``."""
    environment = engines.environment(
        OCTOLLM_LLM_BASE_URL=model.base_url,
        OCTOLLM_LLM_MODEL="fake-model",
        OCTOLLM_PLAN_CACHE_TTL_S="3600",
    )
    return engines.python(
        *("-m", "tests.planner.callers", str(directory), str(count)),
        log=directory / "callers.log",
        environment=environment,
    )


def test_fifty_callers_in_several_processes_ask_the_model_once(
    cached_model: FakeModel, engines: TestEngines, tmp_path: Path
) -> None:
    cached_model.default = fakes.slow(1.0, fakes.completion(GOOD))
    processes = [
        start_callers(engines, cached_model, tmp_path, count=15) for _ in range(3)
    ]
    wait_until(lambda: callers.ready(tmp_path) == 3, timeout_s=60)

    (tmp_path / "go").touch()
    found = callers.call_at_once(5)

    for process in processes:
        assert process.wait(60) == 0
    found += callers.results(tmp_path)
    assert len(found) == 50
    assert sorted(str(each.get("source")) for each in found) == ["cache"] * 49 + [
        "model"
    ]
    assert len({str(each["steps"]) for each in found}) == 1
    assert len(cached_model.requests) == 1


def test_one_who_was_killed_while_planning_is_followed_by_another(
    cached_model: FakeModel, engines: TestEngines, tmp_path: Path
) -> None:
    cached_model.will(fakes.hang())
    process = start_callers(engines, cached_model, tmp_path, count=1)
    (tmp_path / "go").touch()
    wait_until(lambda: cached_model.requests, timeout_s=60)

    kill_group(process)
    claims = keys_of("claim")
    plan = planned()

    assert len(claims) == 1
    assert plan.source == "model"
    assert len(cached_model.requests) == 2
    assert planned().source == "cache"


def test_a_waiting_caller_gets_the_plan_and_pays_nothing(
    cached_model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    outcomes, meter, stop = Outcomes(), MemoryMeter(), WatchedStop()
    ready = threading.Event()
    cached_model.will(when(ready, fakes.completion(GOOD)))
    leader = leading(threads, cached_model, WatchedStop())
    waiting = threads.submit(plan_with, services(stop, meter))
    assert stop.is_waiting.wait(10)

    ready.set()

    assert (leader.result().source, waiting.result().source) == ("model", "cache")
    assert meter.calls == []
    assert outcomes.new() == {"miss": 1, "waited": 1}


def test_a_failure_of_the_one_who_plans_is_told_to_all_who_wait(
    cached_model: FakeModel,
) -> None:
    cached_model.default = fakes.slow(0.3, fakes.completion("no plan"))

    found = callers.call_at_once(20)

    assert found == [{"code": "invalid_plan"}] * 20
    # The question and the one correction.
    assert len(cached_model.requests) == 2


def test_the_budget_of_the_one_who_plans_is_nobody_elses(
    cached_model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    asked, go = threading.Event(), threading.Event()

    class PoorMeter(MemoryMeter):
        def reserve(self, call: Any) -> Any:
            asked.set()
            go.wait(10)
            raise BudgetExceededError(limit="tokens")

    poor = threads.submit(plan_with, services(WatchedStop(), PoorMeter()))
    assert asked.wait(10)
    stop = WatchedStop()
    rich = threads.submit(plan_with, services(stop))
    assert stop.is_waiting.wait(10)
    assert cached_model.requests == []

    go.set()

    assert rich.result().source == "model"
    with pytest.raises(BudgetExceededError):
        poor.result()


def test_one_who_is_cancelled_while_planning_is_followed_by_another(
    cached_model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    cached_model.will(fakes.hang())
    cancelled, stop = WatchedStop(), WatchedStop()
    leader = leading(threads, cached_model, cancelled)
    waiting = threads.submit(plan_with, services(stop))
    assert stop.is_waiting.wait(10)

    cancelled.cancel()

    assert waiting.result().source == "model"
    with pytest.raises(CallCancelledError):
        leader.result()


def test_one_who_waits_can_be_cancelled(
    cached_model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    ready, stop = threading.Event(), WatchedStop()
    cached_model.will(when(ready, fakes.completion(GOOD)))
    leader = leading(threads, cached_model, WatchedStop())
    waiting = threads.submit(plan_with, services(stop))
    assert stop.is_waiting.wait(10)

    stop.cancel()

    with pytest.raises(CallCancelledError):
        waiting.result(5)
    assert not leader.done()
    ready.set()
    assert leader.result().source == "model"


def test_one_who_cannot_wait_so_long_plans_alone_for_all(
    cached_model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    cached_model.will(fakes.hang())
    slow = WatchedStop()
    leader = leading(threads, cached_model, slow)

    hasty = plan_with(services(StopToken(2.0)))

    assert hasty.source == "model"
    assert not leader.done()
    assert planned().source == "cache"
    slow.cancel()


def test_a_claim_outlives_its_first_end_while_its_holder_plans(
    cached_model: FakeModel, threads: ThreadPoolExecutor
) -> None:
    ready = threading.Event()
    cached_model.will(when(ready, fakes.completion(GOOD)))
    leader = leading(threads, cached_model, WatchedStop())
    # Longer than a claim lives that nobody renews.
    waiting = threads.submit(plan_with, services(WatchedStop()))
    with pytest.raises(TimeoutError):
        waiting.result(3.5)

    ready.set()

    assert {leader.result().source, waiting.result().source} == {"model", "cache"}
    assert len(cached_model.requests) == 1
