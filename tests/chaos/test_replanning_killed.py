"""Kill the worker while a task is planned again or judged again; it completes."""

from __future__ import annotations

import json
from typing import Any

from tasks_app.models import Charge, Step, Task, Verdict
from tests.chaos.test_recovery import kill_worker
from tests.fakes import Answer, FakeModel, completion, hang
from tests.flow.conftest import System, gate_step, planned, replanned
from tests.waiting import wait_until

# What a busy machine does to a short lease is not what is looked at here.
LEASE = {"OCTOLLM_LEASE_S": "8"}
CRITERIA = ["score between 0 and 1", "The tone is friendly"]
FIRST = planned(gate_step("a", score=3), gate_step("b"), gate_step("c"))
SECOND = replanned(gate_step("n1", score=0.5), replaces=("a",))


def friendly() -> Answer:
    """Answer the judge's question about the tone."""
    found = {"id": "c1", "verdict": "met", "evidence": "It is.", "score": 1}
    return completion(json.dumps({"verdicts": [found]}))


def submitted(system: System) -> str:
    return system.submit(acceptance_criteria=CRITERIA, budget={"max_tokens": 50_000})


def killed_at(
    system: System, model: FakeModel, settings: dict[str, str], *, request: int
) -> dict[str, Any]:
    """Kill the worker when that request hangs; return the task when it has ended."""
    settings = settings | LEASE
    doomed = system.start_worker(**settings)
    task_id = submitted(system)
    wait_until(lambda: len(model.requests) == request, timeout_s=40)
    kill_worker(doomed)
    system.start_worker(**settings)
    return system.wait(task_id)


def assert_nothing_twice(task: dict[str, Any], *, retried: str) -> None:
    steps = Step.objects.filter(task_id=task["task_id"])
    tries = dict(steps.values_list("step_id", "attempt_count"))
    assert tries.pop(retried) == 2
    assert set(tries.values()) == {1}
    assert steps.filter(kind="work", status="done").count() == 3
    # One call was lost with its worker; every other was asked and paid for once.
    states = Charge.objects.filter(task_id=task["task_id"]).values_list("state")
    assert sorted(state for (state,) in states) == ["presumed", *["settled"] * 4]
    row = Task.objects.get(pk=task["task_id"])
    assert (row.held_nano, row.held_tokens, row.replan_count) == (0, 0, 1)


def test_worker_killed_while_it_plans_again(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(FIRST, friendly(), hang(), SECOND, friendly())

    task = killed_at(system, model, model_settings, request=3)

    assert (task["status"], task["plan_version"]) == ("completed", 2), task
    assert_nothing_twice(task, retried="plan-2")


def test_worker_killed_while_it_judges_again(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(FIRST, friendly(), SECOND, hang(), friendly())

    task = killed_at(system, model, model_settings, request=4)

    assert (task["status"], task["plan_version"]) == ("completed", 2), task
    assert_nothing_twice(task, retried="judge-2")
    found = Verdict.objects.filter(task_id=task["task_id"]).order_by("id")
    assert [(v.plan_version, v.verdict) for v in found] == [
        *((1, "not_met"), (1, "met")),
        *((2, "met"), (2, "met")),
    ]
