"""Kill what can be killed while a task is under way; the task completes."""

from __future__ import annotations

import os
import signal

import redis

from tests.fakes import FakeModel, hang
from tests.flow.conftest import Gate, System, gate_step, planned
from tests.waiting import wait_until

PLAN = (gate_step("a"), gate_step("b", "a"), gate_step("c", "b"))


def kill_worker(process) -> None:
    """Kill master and child, as the machine's end would."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def test_worker_killed_in_the_plan_step(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(hang(), planned(*PLAN))
    doomed = system.start_worker(**model_settings)
    task_id = system.submit()
    wait_until(lambda: model.requests, timeout_s=40)

    kill_worker(doomed)
    system.start_worker(**model_settings)

    assert system.wait(task_id)["status"] == "completed"


def test_worker_killed_in_a_work_step(
    system: System, model: FakeModel, model_settings: dict[str, str], gate: Gate
):
    waiting = gate_step("b", "a", capability="wait", gate=str(gate.path))
    model.will(planned(gate_step("a"), waiting, gate_step("c", "b")))
    doomed = system.start_worker(**model_settings)
    task_id = system.submit()
    gate.wait_for("b")

    kill_worker(doomed)
    gate.open()
    system.start_worker(**model_settings)
    task = system.wait(task_id)

    steps = system.steps(task_id)
    assert task["status"] == "completed"
    assert (steps["a"]["attempt_count"], steps["b"]["attempt_count"]) == (1, 2)


def test_worker_killed_in_the_judge_step(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(planned(*PLAN), hang())
    doomed = system.start_worker(**model_settings)
    task_id = system.submit(acceptance_criteria=["The tone is friendly"])
    wait_until(lambda: len(model.requests) == 2, timeout_s=40)

    kill_worker(doomed)
    system.start_worker(**model_settings)

    assert system.wait(task_id)["status"] == "completed"


def test_step_that_kills_its_workers_ends_dead(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(
        planned(gate_step("a", capability="die"), gate_step("b"), gate_step("c"))
    )
    settings = model_settings | {"OCTOLLM_MAX_ATTEMPTS": "2"}
    task_id = system.submit()
    for _ in range(2):
        system.start_worker(**settings).wait(60)
    system.start_worker(**settings)

    task = system.wait(task_id)

    assert (task["status"], task["error"]["code"]) == ("failed", "worker_lost")
    assert system.steps(task_id)["a"]["status"] == "dead"


def test_flushed_queue_loses_no_task(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.default = planned(*PLAN)
    task_ids = [system.submit() for _ in range(10)]

    redis.Redis.from_url(system.engines.redis_url).flushall()
    system.start_worker(**model_settings)

    assert {system.wait(t)["status"] for t in task_ids} == {"completed"}


def test_stopped_worker_gives_back_what_it_cannot_finish(
    system: System, model: FakeModel, model_settings: dict[str, str], gate: Gate
):
    waiting = gate_step("b", "a", capability="wait", gate=str(gate.path))
    model.will(planned(gate_step("a"), waiting, gate_step("c", "b")))
    leaving = system.start_worker(**model_settings)
    task_id = system.submit()
    gate.wait_for("b")

    leaving.send_signal(signal.SIGTERM)
    assert leaving.wait(20) == 0
    gate.open()
    system.start_worker(**model_settings)
    task = system.wait(task_id)

    # Given back, not lost: the try does not count.
    assert task["status"] == "completed"
    assert system.steps(task_id)["b"]["attempt_count"] == 1
