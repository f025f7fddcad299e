"""A result that is not good enough is planned again, in a real worker."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks_app.models import Attempt, Charge, Verdict
from tests.fakes import FakeModel, completion
from tests.flow.conftest import Gate, System, gate_step, planned, replanned

CRITERIA = ["score between 0 and 1"]


@pytest.fixture
def working(system: System, module_worker: Path) -> System:
    """Return the system with the module's worker, which plans by the fake model."""
    return system


def first_plan(**a: Any) -> Any:
    """Answer with a first plan whose step ``a`` gives the score."""
    return planned(gate_step("a", **a), gate_step("b"), gate_step("c", "b"))


def test_criterion_that_was_not_met_is_met_by_the_next_version(
    working: System, model: FakeModel
):
    model.will(
        first_plan(score=3), replanned(gate_step("n1", score=0.5), replaces=("a",))
    )

    task = working.wait(working.submit(acceptance_criteria=CRITERIA))

    assert (task["status"], task["plan_version"]) == ("completed", 2), task
    assert task["result"]["score"] == 0.5
    assert [each["met"] for each in task["result"]["rounds"]] == [0, 1]
    plan = working.client.get(f"/tasks/{task['task_id']}/plan").json()
    assert [each["diff"] for each in plan["versions"]] == [
        {"kept": [], "new": ["a", "b", "c"], "superseded": []},
        {"kept": ["b", "c"], "new": ["v2-1"], "superseded": ["a"]},
    ]
    assert len(model.requests) == 2


def test_finished_steps_run_exactly_once(working: System, model: FakeModel, gate: Gate):
    gate.open()
    waiting = {"capability": "wait", "gate": str(gate.path)}
    model.will(
        planned(gate_step("a", score=3), gate_step("b", **waiting), gate_step("c")),
        replanned(gate_step("n1", score=0.5, said={"$from": "steps.b.value"})),
    )

    task = working.wait(working.submit(acceptance_criteria=CRITERIA))

    attempts = Attempt.objects.filter(step__task_id=task["task_id"])
    assert task["status"] == "completed", task
    assert len(gate.entries("b")) == 1
    assert set(attempts.values_list("number", flat=True)) == {1}
    assert attempts.count() == 8


def test_best_of_the_versions_is_given_back_when_rounds_are_used_up(
    working: System, model: FakeModel
):
    model.will(
        first_plan(score=15),
        replanned(gate_step("n1", score=30), replaces=("a",)),
        replanned(gate_step("n1", score=40), replaces=("v2-1",)),
    )

    task = working.wait(
        working.submit(acceptance_criteria=["score at most 10", "score at most 20"])
    )

    results = working.client.get(f"/tasks/{task['task_id']}/results").json()
    assert (task["status"], task["stop_reason"]) == ("failed", "criteria_not_met")
    assert (task["plan_version"], results[0]["plan_version"]) == (3, 1)
    assert task["result"]["score"] == 15
    versions = Verdict.objects.filter(task_id=task["task_id"])
    assert set(versions.values_list("plan_version", flat=True)) == {1, 2, 3}


def test_model_that_has_no_better_plan_leaves_what_was_judged(
    working: System, model: FakeModel
):
    model.will(first_plan(score=3))
    model.default = completion("I would rather not.")

    task = working.wait(working.submit(acceptance_criteria=CRITERIA))

    assert (task["status"], task["stop_reason"]) == ("failed", "criteria_not_met")
    assert task["error"]["replan_error"]["code"] == "invalid_plan"
    assert task["result"]["criteria"][0]["verdict"] == "not_met"
    assert task["result"]["score"] == 3


def test_every_version_is_paid_from_one_budget(working: System, model: FakeModel):
    model.will(
        first_plan(score=3), replanned(gate_step("n1", score=0.5), replaces=("a",))
    )

    task = working.wait(working.submit(acceptance_criteria=CRITERIA))

    charges = Charge.objects.filter(task_id=task["task_id"])
    assert set(charges.values_list("state", flat=True)) == {"settled"}
    assert task["spent"]["tokens"] == 150 * charges.count() == 300
