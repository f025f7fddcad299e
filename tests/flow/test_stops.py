"""Maintenance, the kill switch and owners' limits, with real workers and commands."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx2
import pytest

from octollm.access import owners
from octollm.access.models import Owner
from octollm.resilience.models import Slot, Switch
from octollm.resilience.switches import MAINTENANCE, standing
from tasks_app.models import Attempt, Charge, Step, Task
from tests.backlog import fill
from tests.fakes import FakeModel, hang
from tests.flow.conftest import Gate, System, gate_step, planned
from tests.waiting import wait_until

GOAL = "Prepare the product reviews for the board meeting"
# A worker looks once a second whether its claims are its own, and a busy machine costs
# it none of them.
PRODUCTION_TIMES = {
    "OCTOLLM_CANCEL_POLL_S": "1",
    "OCTOLLM_LEASE_S": "30",
    "OCTOLLM_LEASE_RENEW_S": "10",
}
PLAN = {"steps": [gate_step("a"), gate_step("b", "a"), gate_step("c", "b")]}


@pytest.fixture(autouse=True)
def _nothing_stays_stopped() -> Iterator[None]:
    yield
    Switch.objects.all().delete()
    Owner.objects.update(stopped_at=None)


def octollm(system: System, *words: str) -> str:
    """Run a command in a process of its own, as an operator does."""
    log = system.logs / "command.txt"
    process = system.engines.python(
        "-m", "octollm", *words, log=log, environment=system.environment
    )
    assert process.wait(60) == 0, log.read_text()
    return log.read_text()


def owner_of(task_id: str) -> Owner:
    return Task.objects.select_related("owner").get(pk=task_id).owner


def waiting_plan(gate: Gate, *, count: int = 1) -> dict[str, Any]:
    wait = {"capability": "wait", "gate": str(gate.path)}
    steps = [gate_step(step_id, **wait) for step_id in "abc"[:count]]
    return {"steps": [*steps, gate_step("last", *"abc"[:count])]}


def test_maintenance_lets_what_runs_end_and_all_else_wait(system: System, gate: Gate):
    system.start_worker()
    running = system.submit(plan=waiting_plan(gate))
    gate.wait_for("a")

    octollm(system, "maintenance", "on", "--reason", "a new disk")
    waiting = system.submit(plan=PLAN)
    gate.open()
    ended = wait_until(
        lambda: Step.objects.filter(
            task_id=running, step_id="a", status="done"
        ).exists()
    )
    ready = httpx2.get(f"{system.client.base_url}/ready", timeout=10)
    status = octollm(system, "maintenance", "status")

    assert ended
    assert (ready.status_code, ready.json()["maintenance"]) == (200, True)
    assert "a new disk" in status
    assert "0 steps run, 2 wait." in status
    # Nothing was claimed since: the next step of the one, and all of the other.
    stands = standing(MAINTENANCE)
    assert stands is not None
    assert not Attempt.objects.filter(started_at__gt=stands.since).exists()
    assert system.task(waiting)["status"] == "pending"

    began = time.monotonic()
    octollm(system, "maintenance", "off")
    assert system.wait(running)["status"] == "completed"
    assert system.wait(waiting)["status"] == "completed"
    assert time.monotonic() - began < 20


def test_kill_switch_closes_a_hanging_model_call_and_nothing_more_is_spent(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(hang())
    system.start_worker(**model_settings, **PRODUCTION_TIMES)
    task_id = system.submit(GOAL, budget={"max_tokens": 100_000})
    wait_until(lambda: model.requests, timeout_s=40)

    told = octollm(system, "stop-all", "--reason", "it burns")
    stopped_at = _ended_at(task_id)
    wait_until(lambda: model.closed, timeout_s=10)
    took_s = time.time() - stopped_at.timestamp()
    wait_until(
        lambda: not Charge.objects.filter(task_id=task_id, state="held").exists()
    )

    # Given back by the command or, if that is sooner, by the reaper.
    assert "0 steps run." in told
    assert took_s < 2.5
    step = Step.objects.get(task_id=task_id)
    assert (step.status, step.attempt_count) == ("ready", 0)
    assert [c.state for c in Charge.objects.filter(task_id=task_id)] == ["presumed"]
    assert len(model.requests) == 1

    model.will(planned(*PLAN["steps"]))
    octollm(system, "maintenance", "off")
    task = system.wait(task_id)

    assert task["status"] == "completed", task
    assert len(model.requests) == 2


def _ended_at(task_id: str) -> datetime:
    """Return when the claim was taken away."""
    ended = Attempt.objects.get(step__task_id=task_id).finished_at
    assert ended is not None
    return ended


def test_one_owner_is_stopped_now_and_others_go_on(system: System, gate: Gate):
    system.start_worker()
    task_id = system.submit(plan=waiting_plan(gate))
    gate.wait_for("a")
    owner = owner_of(task_id)

    told = octollm(system, "owners", "stop", owner.name, "--now", "--reason", "unpaid")
    refused = system.client.post("/submit", json={"goal": "Do it", "plan": PLAN})
    other = Owner.objects.create(name=f"other-{owner.pk}")
    fill(other, 1, plan=PLAN)

    assert f"{owner.name} is stopped." in told
    assert (refused.status_code, refused.json()["code"]) == (403, "owner_stopped")
    assert system.client.get(f"/tasks/{task_id}").status_code == 200
    wait_until(lambda: Task.objects.filter(owner=other, status="completed").exists())
    assert Step.objects.get(task_id=task_id, step_id="a").status == "ready"

    gate.open()
    octollm(system, "owners", "start", owner.name)

    assert system.wait(task_id)["status"] == "completed"


def test_no_more_of_a_limited_owner_run_than_it_may(system: System, gate: Gate):
    first, second = (system.submit(plan=waiting_plan(gate, count=3)) for _ in range(2))
    owner = owner_of(first)
    octollm(system, "owners", "limit", owner.name, "--running", "2")
    other = Owner.objects.create(name=f"beside-{owner.pk}")
    system.start_worker()
    wait_until(lambda: _at_the_gate(owner) == 2, timeout_s=60)

    fill(other, 5, plan=PLAN)
    beside = Task.objects.filter(owner=other, status="completed")
    wait_until(lambda: beside.count() == 5, timeout_s=60)

    # The process has four threads, and two more steps were ready all the time.
    assert _at_the_gate(owner) == 2
    assert Step.objects.filter(owner=owner, status="ready").exists()
    gate.open()
    assert system.wait(first)["status"] == system.wait(second)["status"] == "completed"
    held = Slot.objects.filter(holder__isnull=False, scope=owners.scope_of(owner.pk))
    wait_until(lambda: not held.exists())


def _at_the_gate(owner: Owner) -> int:
    running = Step.objects.filter(owner=owner, status="running")
    return running.filter(capability="wait").count()


def test_killed_worker_s_slot_comes_back_with_its_lease(system: System, gate: Gate):
    system.submit(plan=PLAN)
    owner = owner_of(system.submit(plan=waiting_plan(gate)))
    owners.limit(owner, 1)
    doomed = system.start_worker()
    gate.wait_for("a")
    held = Slot.objects.get(scope=owners.scope_of(owner.pk)).holder
    assert held is not None

    os.killpg(doomed.pid, signal.SIGKILL)
    doomed.wait()
    killed = time.monotonic()
    system.start_worker()
    # Another claim has the owner's one slot, and so the step goes on.
    gate.wait_for("a", count=2)
    took_s = time.monotonic() - killed
    gate.open()
    wait_until(
        lambda: not Task.objects.filter(owner=owner, finished_at=None).exists(),
        timeout_s=60,
    )

    assert took_s < 30
    assert not Task.objects.filter(owner=owner).exclude(status="completed").exists()
    slot = Slot.objects.get(scope=owners.scope_of(owner.pk))
    wait_until(lambda: Slot.objects.get(pk=slot.pk).holder is None)
