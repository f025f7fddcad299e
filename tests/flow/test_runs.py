"""Tasks that stopped short go on, and are forked, through the real API and worker."""

from __future__ import annotations

from typing import Any

import pytest

from octollm.access.keys import create_key
from octollm.embedded.processes import kill_group
from tasks_app.models import Attempt, Charge, Step
from tests.fakes import FakeModel
from tests.flow.conftest import Gate, System, gate_step
from tests.waiting import wait_until

REVIEWS = ["Great phone, I love it.", "It broke after a week.", "It is a phone."]


@pytest.fixture
def working(system: System, model: FakeModel, model_settings: dict[str, str]) -> System:
    """Return the system with a worker of its own, whose arms may ask the fake model."""
    system.start_worker(**model_settings, OCTOLLM_MAX_ATTEMPTS="2")
    return system


def submit(system: System, *steps: dict[str, Any], **body: Any) -> dict[str, Any]:
    """Submit a plan of one's own and wait for its end."""
    return system.wait(system.submit(plan={"steps": list(steps)}, **body))


def post(system: System, task: dict[str, Any], part: str, **body: Any) -> Any:
    return system.client.post(f"/tasks/{task['task_id']}/{part}", json=body or None)


def went_on(system: System, task: dict[str, Any], part: str, **body: Any) -> Any:
    """Ask for another run and wait for its end."""
    answer = post(system, task, part, **body)
    assert answer.status_code == 200, answer.text
    return system.wait(task["task_id"])


def attempts(task: dict[str, Any], step_id: str) -> int:
    tried = Attempt.objects.filter(step__task_id=task["task_id"], step__step_id=step_id)
    return tried.count()


def assert_done_once(task: dict[str, Any], step_id: str, *, before: int) -> None:
    """A step that was done has had no attempt since; one may lose its lease here."""
    assert attempts(task, step_id) == before
    step = Step.objects.get(task_id=task["task_id"], step_id=step_id)
    assert step.attempts.filter(outcome="done").count() == 1


def test_task_that_its_tokens_stopped_goes_on_when_they_are_raised(
    working: System, model: FakeModel
):
    ask: dict[str, Any] = {"capability": "ask", "room": 200}
    # A call takes 55 tokens, of which 5 are its question's; so many are not left.
    task = submit(
        working,
        gate_step("a", **ask),
        gate_step("b", "a", **ask),
        gate_step("c", "b"),
        budget={"max_tokens": 100},
    )

    stopped = task["result"]["stopped"]
    assert (task["status"], task["stop_reason"]) == ("failed", "budget_tokens")
    assert (stopped["limit"], stopped["at_stage"]) == ("tokens", "executing")
    assert stopped["spent_at_stop"]["tokens"] == 55
    assert task["result"]["outputs"].keys() == {"a"}
    assert task["result"]["missing_steps"] == ["b", "c"]
    assert "2 steps" in task["result"]["cost_to_finish"]["basis"]
    assert post(working, task, "retry").json()["code"] == "budget_used_up"

    before = attempts(task, "a")
    task = went_on(working, task, "budget", max_tokens=1_000)

    assert (task["status"], task["run"]) == ("completed", 2)
    assert_done_once(task, "a", before=before)
    assert len(model.requests) == 2
    assert task["spent"]["tokens"] == 110
    charges = Charge.objects.filter(task_id=task["task_id"])
    assert list(charges.values_list("state", flat=True)) == ["settled", "settled"]


def test_task_that_the_clock_stopped_goes_on_when_it_gets_more_time(
    working: System, gate: Gate
):
    wait = {"capability": "wait", "gate": str(gate.path)}
    task_id = working.submit(
        plan={"steps": [gate_step("a"), gate_step("b", "a", **wait)]},
        budget={"max_time_seconds": 6},
    )
    gate.wait_for("b")
    task = working.wait(task_id)
    assert (task["stop_reason"], task["result"]["stopped"]["limit"]) == (
        *("deadline", "time"),
    )

    before = attempts(task, "a")
    gate.open()
    task = went_on(working, task, "budget", max_time_seconds=60)

    assert task["status"] == "completed", task
    assert_done_once(task, "a", before=before)
    assert task["result"]["value"] == "b"


def test_more_time_comes_to_a_step_that_runs(working: System, gate: Gate):
    task_id = working.submit(
        plan={"steps": [gate_step("a", capability="wait", gate=str(gate.path))]},
        budget={"max_time_seconds": 8},
    )
    gate.wait_for("a")

    answer = post(working, {"task_id": task_id}, "budget", max_time_seconds=60)
    # The claim's own clock still ends the first try; the step is taken up again.
    wait_until(lambda: attempts({"task_id": task_id}, "a") > 1)
    gate.open()
    task = working.wait(task_id)

    assert answer.json()["run"] == 1
    assert (task["status"], task["run"]) == ("completed", 1)


@pytest.mark.parametrize("by", ["the API", "the command line"])
def test_dead_step_is_replayed(working: System, gate: Gate, by: str):
    task = submit(
        working,
        gate_step("a"),
        gate_step("b", "a", capability="knock", gate=str(gate.path)),
        gate_step("c", "b"),
    )
    steps = working.steps(task["task_id"])
    assert (steps["b"]["status"], steps["c"]["status"]) == ("dead", "skipped")
    assert task["result"]["stopped"]["reason"] == "work_failed"

    before = attempts(task, "a")
    gate.open()
    if by == "the API":
        task = went_on(working, task, "retry")
    else:
        command(working, "tasks", "retry", task["task_id"])
        task = working.wait(task["task_id"])

    assert (task["status"], task["run"]) == ("completed", 2)
    assert_done_once(task, "a", before=before)
    assert attempts(task, "b") >= 3


def command(system: System, *words: str) -> None:
    """Run ``octollm`` as an operator does."""
    process = system.engines.python(
        *("-m", "octollm", *words),
        log=system.logs / "command.log",
        environment=system.environment,
    )
    try:
        assert process.wait(60) == 0, (system.logs / "command.log").read_text()
    finally:
        kill_group(process)


def test_fork_from_the_middle_runs_the_rest_and_is_compared(working: System):
    old = submit(working, gate_step("a"), gate_step("b", "a"), gate_step("c", "b"))

    answer = post(
        working, old, "fork", from_step="b", input={"value": "changed", "score": 2}
    )
    new = working.wait(answer.json()["task_id"])

    assert (new["status"], new["forked_from"]) == ("completed", old["task_id"])
    assert attempts(new, "a") == 0 < min(attempts(new, "b"), attempts(new, "c"))
    assert new["result"]["outputs"]["a"] == old["result"]["outputs"]["a"]
    shown = working.client.get(
        f"/tasks/{old['task_id']}/compare/{new['task_id']}"
    ).json()
    assert (shown["other"]["steps_run"], shown["other"]["steps_copied"]) == (2, 1)
    assert [step["step_id"] for step in shown["steps"]] == ["b"]


def test_task_that_lacked_input_is_forked_with_it(system: System):
    # Without a model: a recipe says what is missing.
    system.start_worker()
    old = system.wait(system.submit("Analyze sentiment of product reviews"))
    assert old["error"]["code"] == "missing_input"

    answer = post(system, old, "fork", context={"reviews": REVIEWS})
    new = system.wait(answer.json()["task_id"])

    assert (new["status"], new["goal"]) == ("completed", old["goal"])
    assert new["result"]["sentiment_score"] is not None


def test_strangers_fork_raise_and_retry_nothing(working: System):
    task = submit(working, gate_step("a", capability="fail"))
    _, key = create_key(owner_name="stranger-of-runs", name="k")
    headers = {"Authorization": f"Bearer {key}"}
    before = Step.objects.count()

    for part, body in (
        ("fork", {}),
        ("retry", None),
        ("budget", {"max_tokens": 99_999}),
    ):
        answer = working.client.post(
            f"/tasks/{task['task_id']}/{part}", json=body, headers=headers
        )
        assert answer.status_code == 404

    assert Step.objects.count() == before
