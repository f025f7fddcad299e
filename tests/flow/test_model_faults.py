"""A model's server that fails, and tasks that a real worker runs all the same."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from tasks_app.models import Charge
from tests.fakes import Answer, FakeModel, completion, drip, error, hang, html
from tests.flow.conftest import System, gate_step, planned
from tests.waiting import wait_until

REVIEWS = {"reviews": ["Great product.", "It broke.", "Fine for the price."]}
PLAIN_GOAL = "Analyze sentiment of product reviews"
OPEN_GOAL = "Prepare the product reviews for the board meeting"
GOOD = planned(gate_step("a"), gate_step("b"), gate_step("c"))
NO_PLAN = planned(gate_step("a"), gate_step("a"), gate_step("b", "z"))


@pytest.fixture
def working(system: System, model: FakeModel, request: pytest.FixtureRequest) -> System:
    """Return the system with a worker whose model has a breaker of its own."""
    provider = {
        "name": f"faulty-{uuid4().hex[:8]}",
        "base_url": model.base_url,
        "model": "fake-model",
    }
    system.start_worker(
        OCTOLLM_LLM_PROVIDERS=json.dumps([provider]), OCTOLLM_PLAN_TIMEOUT_S="5"
    )
    return system


def charges(task_id: str) -> set[str]:
    """Return how the charges of a task ended; a call may be ending just now."""

    def ended() -> bool:
        return not Charge.objects.filter(task_id=task_id, state="held").exists()

    wait_until(ended, timeout_s=20)
    return set(Charge.objects.filter(task_id=task_id).values_list("state", flat=True))


@pytest.mark.parametrize(
    ("answer", "booked"),
    [
        (hang(), {"presumed"}),
        (drip(every_s=1.0), {"presumed"}),
        (html(), {"presumed"}),
        (completion("I would rather not."), {"settled"}),
    ],
    ids=["hang", "drip", "html", "prose"],
)
def test_task_that_a_recipe_fits_is_done_without_the_model(
    working: System, model: FakeModel, answer: Answer, booked: set[str]
):
    model.default = answer

    task = working.wait(working.submit(PLAIN_GOAL, context=REVIEWS))

    assert task["status"] == "completed", task
    assert task["result"]["count"] == 3
    assert charges(task["task_id"]) == booked


def test_short_wish_to_wait_is_heeded_and_the_models_plan_runs(
    working: System, model: FakeModel
):
    model.will(error(429, Retry_After="1"), GOOD)

    task = working.wait(working.submit())

    assert task["status"] == "completed", task
    assert charges(task["task_id"]) == {"released", "settled"}


def test_plan_that_stays_wrong_fails_with_every_violation(
    working: System, model: FakeModel
):
    model.default = NO_PLAN

    task = working.wait(working.submit(OPEN_GOAL))

    assert (task["status"], task["error"]["code"]) == ("failed", "invalid_plan")
    assert "P008" in task["error"]["message"]
    assert charges(task["task_id"]) == {"settled"}


def test_server_that_stays_down_ends_the_task_in_its_time(
    working: System, model: FakeModel
):
    model.default = error(500)

    task = working.wait(working.submit(OPEN_GOAL, budget={"max_time_seconds": 10}))

    assert task["status"] == "failed"
    assert task["error"]["code"] in {"model_unavailable", "deadline_exceeded"}
    assert charges(task["task_id"]) <= {"released", "presumed"}
