"""Plans that a model wrote, run by a worker; the model is a server on a socket."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from tasks_app.models import Step
from tests.fakes import FakeModel, completion, hang
from tests.flow.conftest import Gate, System, gate_step, planned
from tests.waiting import wait_until


@pytest.fixture
def working(system: System, module_worker: Path) -> System:
    """Return the system with the module's worker, which plans by the fake model."""
    return system


def test_plan_of_a_model_runs_to_its_result(working: System, model: FakeModel):
    model.will(planned(gate_step("a"), gate_step("b", "a"), gate_step("c", "b")))

    task = working.wait(working.submit())

    steps = working.steps(task["task_id"])
    assert task["status"] == "completed", task
    assert task["result"]["value"] == "c"
    assert {step["status"] for step in steps.values()} == {"done"}
    assert task["spent"]["tokens"] == 150


def test_middle_steps_of_a_diamond_run_at_the_same_time(
    working: System, model: FakeModel, gate: Gate
):
    wait = {"capability": "wait", "gate": str(gate.path)}
    model.will(
        planned(
            gate_step("a"),
            gate_step("b", "a", **wait),
            gate_step("c", "a", **wait),
            gate_step("d", "b", "c"),
        )
    )
    task_id = working.submit()

    gate.wait_for("b")
    gate.wait_for("c")
    gate.open()
    task = working.wait(task_id)

    outputs = task["result"]["outputs"]
    assert outputs["b"]["started"] < outputs["c"]["ended"]
    assert outputs["c"]["started"] < outputs["b"]["ended"]
    assert outputs["d"]["started"] > max(outputs[s]["ended"] for s in "bc")


def test_failed_step_skips_its_dependants_and_leaves_a_partial_result(
    working: System, model: FakeModel
):
    model.will(
        planned(
            gate_step("a"),
            gate_step("b", "a", capability="fail"),
            gate_step("c", "b"),
        )
    )

    task = working.wait(working.submit(acceptance_criteria=["value equals 'c'"]))

    assert (task["status"], task["error"]["code"]) == ("failed", "arm_failed")
    assert task["result"]["partial"] is True
    assert task["result"]["missing_steps"] == ["b", "c"]
    assert list(task["result"]["outputs"]) == ["a"]
    statuses = {k: v["status"] for k, v in working.steps(task["task_id"]).items()}
    assert (statuses["b"], statuses["c"]) == ("failed", "skipped")


def test_passing_failure_is_tried_again(working: System, model: FakeModel):
    model.will(
        planned(
            gate_step("a", capability="flake", times=2),
            gate_step("b", "a"),
            gate_step("c", "b"),
        )
    )

    task = working.wait(working.submit())

    assert task["status"] == "completed"
    assert working.steps(task["task_id"])["a"]["attempt_count"] == 3


def test_failure_that_does_not_pass_ends_dead(working: System, model: FakeModel):
    model.will(
        planned(
            gate_step("a", capability="flake", times=9), gate_step("b"), gate_step("c")
        )
    )

    task = working.wait(working.submit())

    assert (task["status"], task["error"]["code"]) == ("failed", "arm_unavailable")
    assert working.steps(task["task_id"])["a"]["status"] == "dead"


def test_error_of_an_arm_tells_nothing_of_what_it_was_shown(
    working: System, model: FakeModel, module_worker: Path
):
    address = "bob@" + "corp.example"
    model.will(
        planned(
            gate_step("a", capability="crash"),
            gate_step("b"),
            gate_step("c"),
        )
    )

    task = working.wait(working.submit(f"Write to {address}"))

    assert task["error"]["message"].endswith("(ZeroDivisionError).")
    assert address not in module_worker.read_text()


def test_cancel_stops_what_runs_within_two_seconds(
    working: System, model: FakeModel, gate: Gate
):
    model.will(
        planned(
            gate_step("a"),
            gate_step("b", "a", capability="wait", gate=str(gate.path)),
            gate_step("c", "b"),
        )
    )
    task_id = working.submit()
    gate.wait_for("b")

    began = time.monotonic()
    answer = working.client.post(f"/tasks/{task_id}/cancel")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
    assert answer.json()["result"]["outputs"]["a"]["value"] == "a"
    # The thread is free again when it takes the next task.
    model.will(planned(gate_step("a"), gate_step("b"), gate_step("c")))
    assert working.wait(working.submit())["status"] == "completed"
    assert time.monotonic() - began < 20
    again = working.client.post(f"/tasks/{task_id}/cancel")
    assert (again.status_code, again.json()["code"]) == (409, "illegal_state")


def test_cancel_closes_the_socket_of_a_hanging_model_call(
    working: System, model: FakeModel
):
    model.will(hang())
    task_id = working.submit()
    wait_until(lambda: model.requests)

    working.client.post(f"/tasks/{task_id}/cancel")
    cancelled_at = time.monotonic()

    wait_until(lambda: model.closed, timeout_s=10)
    assert model.closed[0] - cancelled_at < 2.5
    # The reply was lost, so the call is booked at its worst case.
    spent = wait_until(lambda: working.task(task_id)["spent"]["tokens"], timeout_s=10)
    assert spent > 0


def test_deadline_ends_the_task_with_what_there_is(
    working: System, model: FakeModel, gate: Gate
):
    model.will(
        planned(
            gate_step("a"),
            gate_step("b", "a", capability="wait", gate=str(gate.path)),
            gate_step("c", "b"),
        )
    )

    task = working.wait(working.submit(budget={"max_time_seconds": 3}))

    assert (task["status"], task["stop_reason"]) == ("failed", "deadline")
    assert task["result"]["outputs"]["a"]["value"] == "a"


def test_spent_budget_ends_the_task_with_its_limit(working: System, model: FakeModel):
    task = working.wait(working.submit(budget={"max_tokens": 50}))

    assert (task["status"], task["stop_reason"]) == ("failed", "budget_tokens")
    assert model.requests == []


def test_model_judges_what_cannot_be_computed(working: System, model: FakeModel):
    model.will(planned(gate_step("a"), gate_step("b"), gate_step("c")))
    task_id = working.submit(acceptance_criteria=["The tone is friendly"])
    wait_until(lambda: len(model.requests) >= 2)

    task = working.wait(task_id)

    # The second answer of the fake is no verdict, so nothing is claimed.
    assert task["result"]["criteria"][0]["verdict"] == "not_checked"


def test_no_personal_data_reaches_the_model(working: System, model: FakeModel):
    address, card = "bob@" + "corp.example", "4111 1111 " + "1111 1111"
    model.will(planned(gate_step("a"), gate_step("b"), gate_step("c")))

    task = working.wait(
        working.submit(f"Write to {address}", context={"pay": {"card": card}})
    )

    assert task["goal"] == f"Write to {address}"
    assert address not in model.sent_text
    assert card not in model.sent_text
    assert "EMAIL_1" in model.sent_text


def test_personal_data_that_a_model_makes_up_is_concealed(
    working: System, model: FakeModel
):
    made_up = "eve@" + "corp.example"
    step = gate_step("a") | {"description": f"Ask {made_up}"}
    model.will(planned(step, gate_step("b"), gate_step("c")))

    task = working.wait(working.submit())

    stored = Step.objects.get(task_id=task["task_id"], step_id="a").description
    assert made_up not in stored
    assert json.dumps(stored).count("EMAIL") == 1


def test_answer_that_is_no_plan_falls_back_or_fails_honestly(
    working: System, model: FakeModel
):
    model.default = completion("I would rather not.")

    task = working.wait(working.submit("Write a novel about an octopus"))

    assert task["status"] == "failed"
    assert task["error"]["code"] in {"invalid_plan", "model_failed", "needs_model"}
