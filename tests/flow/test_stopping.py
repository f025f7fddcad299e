"""What is stopped stops: a cancelled call, a leaving worker, a worker that froze."""

from __future__ import annotations

import signal
import time

from octollm.resilience.models import Worker
from tasks_app.models import Attempt, Charge, Step
from tests.fakes import FakeModel, hang
from tests.figures import note
from tests.flow.conftest import Gate, System, gate_step, planned
from tests.waiting import wait_until

# Beside the polling of the tests' settings, what a busy machine needs.
CANCELLED_WITHIN_S = 2.0


def test_cancel_during_a_hanging_call_ends_it_and_tells_what_it_cost(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.default = hang()
    # A lease that no load of the machine lets run out: the call is made once.
    prices = {"OCTOLLM_LLM_PRICE_INPUT": "1", "OCTOLLM_LLM_PRICE_OUTPUT": "2"}
    system.start_worker(**model_settings, **prices, OCTOLLM_LEASE_S="30")
    task_id = system.submit(budget={"max_tokens": 50_000})
    wait_until(lambda: model.requests, timeout_s=40)

    asked_at = time.monotonic()
    answer = system.client.post(f"/tasks/{task_id}/cancel").json()
    took_s = time.monotonic() - asked_at
    wait_until(lambda: model.closed, timeout_s=10)
    receipt = wait_until(lambda: settled(system, task_id))

    assert answer["status"] == "cancelled"
    assert answer["cancellation"]["state"] == "requested"
    assert took_s < CANCELLED_WITHIN_S
    assert model.closed[0] - asked_at < CANCELLED_WITHIN_S
    assert receipt["calls_in_flight"] == 1
    assert receipt["requested_at"] <= receipt["aborted_at"] <= receipt["settled_at"]
    # The reply is lost, so the worst case is booked, and shown as spent afterwards.
    charge = Charge.objects.get(task_id=task_id)
    assert charge.state == Charge.State.PRESUMED
    assert receipt["spent_before"] == {"cost_usd": "0.000000000", "tokens": 0}
    assert receipt["spent_after"]["tokens"] == charge.held_tokens
    assert len(model.requests) == 1
    note(
        f"cancel in a hanging model call: answered after {took_s:.3f} s, "
        f"socket closed after {model.closed[0] - asked_at:.3f} s"
    )


def settled(system: System, task_id: str):
    receipt = system.task(task_id)["cancellation"]
    return receipt if receipt["state"] == "settled" else None


def test_cancel_before_anything_runs_is_settled_at_once(system: System):
    task_id = system.submit()

    receipt = system.client.post(f"/tasks/{task_id}/cancel").json()["cancellation"]

    assert (receipt["state"], receipt["calls_in_flight"]) == ("settled", 0)


def test_second_signal_makes_a_worker_give_back_at_once(
    system: System, model: FakeModel, model_settings: dict[str, str], gate: Gate
):
    waiting = gate_step("b", "a", capability="wait", gate=str(gate.path))
    model.will(planned(gate_step("a"), waiting, gate_step("c", "b")))
    # Alone, the first signal would let the step run for a minute.
    leaving = system.start_worker(**model_settings, OCTOLLM_SHUTDOWN_S="120")
    task_id = system.submit()
    gate.wait_for("b")

    # Signals that come at once are one; the row tells when the first was heard.
    stopping = Worker.objects.filter(stopping_at__isnull=False)
    stopping.delete()
    leaving.send_signal(signal.SIGTERM)
    wait_until(stopping.exists)
    assert Step.objects.get(task_id=task_id, step_id="b").status == "running"
    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(20) == 0

    step = Step.objects.get(task_id=task_id, step_id="b")
    assert (step.status, step.attempt_count) == ("ready", 0)
    gate.open()
    system.start_worker(**model_settings)
    assert system.wait(task_id)["status"] == "completed"


def test_worker_that_froze_is_noticed_and_its_late_record_refused(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    frozen = gate_step("b", "a", capability="freeze", seconds=8)
    model.will(planned(gate_step("a"), frozen, gate_step("c", "b")))
    settings = {"OCTOLLM_RETRY_MIN_S": "0.05"}
    system.start_worker(**model_settings, **settings)
    task_id = system.submit()
    wait_until(
        lambda: Step.objects.filter(
            task_id=task_id, step_id="b", status="running"
        ).exists(),
        timeout_s=40,
    )

    system.start_worker(**model_settings, **settings)
    task = system.wait(task_id)
    attempts = wait_until(lambda: attempts_with_late_record(task_id)) or []

    assert task["status"] == "completed"
    assert {a.outcome for a in attempts[:-1]} == {"lost"}
    assert attempts[-1].outcome == "done"
    assert attempts[0].worker != attempts[-1].worker
    assert wait_until(lambda: "the worker stood still" in system.log_text())


def attempts_with_late_record(task_id: str) -> list[Attempt] | None:
    attempts = list(Attempt.objects.filter(step__task_id=task_id, step__step_id="b"))
    return attempts if attempts[0].late_at else None
