"""The planner as others call it: over HTTP, planned by a worker, waited for by web."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.fakes import FakeModel, hang
from tests.flow.conftest import System, gate_step, planned
from tests.waiting import wait_until

# As the web process of these tests has threads.
THREADS = 4


@pytest.fixture
def working(system: System, module_worker: Path, model: FakeModel) -> System:
    """Return the system with the module's worker, which plans by the fake model."""
    return system


def execute(system: System, goal: str = "Do it", **body: Any) -> httpx2.Response:
    headers = body.pop("headers", {})
    return system.client.post(
        "/arms/planner/execute", json={"goal": goal, **body}, headers=headers
    )


def test_plan_of_a_model_stands_at_the_root(working: System, model: FakeModel):
    model.will(planned(gate_step("a"), gate_step("b", "a"), gate_step("c", "b")))

    answer = execute(working, task_id="0198c5e2-0000-7000-8000-000000000000")

    plan = answer.json()
    assert answer.status_code == 200, plan
    assert plan["task_id"] == "0198c5e2-0000-7000-8000-000000000000"
    assert [step["step_id"] for step in plan["steps"]] == ["a", "b", "c"]
    assert plan["total_estimated_time"] > 0
    task = working.client.get(answer.headers["Location"]).json()
    assert (task["plan_only"], task["spent"]["tokens"]) == (True, 150)


def test_calls_under_one_id_at_once_are_one_planning(working: System, model: FakeModel):
    model.default = planned(gate_step("a"), gate_step("b", "a"), gate_step("c", "b"))
    headers = {"Idempotency-Key": "one"}

    def call(_: int) -> Any:
        return wait_until(lambda: _plan(execute(working, headers=headers)))

    with ThreadPoolExecutor(THREADS) as pool:
        plans = list(pool.map(call, range(THREADS)))

    assert all(plan == plans[0] for plan in plans)
    assert len(model.requests) == 1
    assert len(working.client.get("/tasks").json()["results"]) == 1


def test_why_there_is_no_plan_is_the_answer(working: System):
    answer = execute(working, "Write a novel", budget={"max_tokens": 5})

    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "budget_exceeded")
    assert working.task(problem["links"]["self"].rpartition("/")[2])["error"]


def test_waiting_for_plans_never_keeps_others_waiting(
    working: System, model: FakeModel
):
    model.default = hang()

    def call(number: int) -> int:
        goal, budget = f"Do it {number}", {"max_time_seconds": 2}
        return execute(working, goal, budget=budget).status_code

    with ThreadPoolExecutor(2 * THREADS) as pool:
        calls = [pool.submit(call, number) for number in range(2 * THREADS)]
        wait_until(lambda: model.requests)
        health = working.client.get("/health", timeout=2)
        statuses = sorted(each.result() for each in calls)

    assert health.status_code == 200
    # The time of those that were waited for ran out.
    assert statuses == [503] * (2 * THREADS - 2) + [504] * 2


def _plan(answer: httpx2.Response) -> Any:
    """Return the plan, or nothing while too many wait."""
    return answer.json() if answer.status_code == 200 else None
