"""Quotes and plans of the caller's own, through the real API, queue and worker."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from tests.fakes import FakeModel
from tests.flow.conftest import Gate, System, gate_step, planned

REVIEWS = ["Great phone, I love it.", "It broke after a week.", "It is a phone."]


@pytest.fixture
def working(system: System, module_worker: Path, model: FakeModel) -> System:
    """Return the system with the module's worker, which plans by the fake model."""
    return system


def own_plan(gate: Gate) -> dict[str, Any]:
    wait = {"capability": "wait", "gate": str(gate.path)}
    return {"steps": [gate_step("a"), gate_step("b", "a", **wait)]}


def test_quote_of_a_models_plan_says_what_planning_took(
    working: System, model: FakeModel
):
    model.will(planned(gate_step("a"), gate_step("b", "a"), gate_step("c", "b")))

    task = working.wait(working.submit(plan_only=True, acceptance_criteria=["n >= 1"]))

    quote = task["result"]["quote"]
    assert (task["status"], task["plan_only"]) == ("completed", True)
    assert task["result"]["plan"]["source"] == "model"
    assert quote["planning_tokens"] == task["spent"]["tokens"] == 150
    assert Decimal(quote["total_cost_usd"]) >= Decimal(quote["planning_cost_usd"])
    assert task["result"]["criteria"][0]["verdict"] == "not_checked"
    assert task["result"]["fully_verified"] is False


def test_quote_of_a_plan_of_ones_own_runs_nothing_and_asks_nobody(
    working: System, model: FakeModel, gate: Gate
):
    task = working.wait(working.submit(plan=own_plan(gate), plan_only=True))

    steps = working.steps(task["task_id"])
    assert task["result"]["plan"]["source"] == "caller"
    assert {each["status"] for each in steps.values()} == {"skipped"}
    assert {each["attempt_count"] for each in steps.values()} == {0}
    assert gate.entries("b") == []
    assert model.requests == []
    assert task["spent"]["tokens"] == 0


def test_plan_of_ones_own_runs_to_its_result(
    working: System, model: FakeModel, gate: Gate
):
    gate.open()

    task = working.wait(working.submit(plan=own_plan(gate)))

    assert task["status"] == "completed", task
    assert task["result"]["value"] == "b"
    assert model.requests == []


def test_quoted_plan_can_be_sent_back_and_run(working: System, model: FakeModel):
    model.will(planned(gate_step("a"), gate_step("b", "a"), gate_step("c", "b")))
    quoted = working.wait(working.submit(plan_only=True))

    task = working.wait(working.submit(plan=quoted["result"]["plan"]))

    shown = working.client.get(f"/tasks/{task['task_id']}/plan").json()
    again = working.wait(working.submit(plan=shown))
    assert task["result"]["value"] == again["result"]["value"] == "c"
    assert len(model.requests) == 1


def test_plan_that_breaks_rules_is_refused_at_once(working: System):
    steps = [gate_step("a", "b"), gate_step("b", "a"), gate_step("b", arm="x")]
    steps[2]["arm"] = "tentacle"

    answer = working.client.post(
        "/submit", json={"goal": "Do it", "plan": {"steps": steps}}
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_plan")
    rules = {each.partition(":")[0] for each in answer.json()["violations"]}
    assert {"P002", "P004"} <= rules
    assert working.client.get("/tasks").json()["results"] == []
