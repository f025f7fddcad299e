"""Budgets under real workers: paid once, waited for, stopped at, never stuck."""

from __future__ import annotations

import os
import signal
from decimal import Decimal
from typing import Any

import pytest

from tasks_app.models import Attempt, Charge, Step
from tests.fakes import FakeModel, completion, hang, slow
from tests.flow.conftest import Gate, System
from tests.waiting import wait_until

# So long that only who is woken goes on within the test.
ASKS_UNASKED_LATE = {"OCTOLLM_RETRY_MIN_S": "20", "OCTOLLM_RETRY_MAX_S": "60"}
SENTENCE = "The screen broke after a week and nobody answered my mails. "


@pytest.fixture(scope="module")
def model_settings(model_settings: dict[str, str]) -> dict[str, str]:
    """Have workers that are slow for a moment taken for alive, as on a busy machine."""
    return model_settings | {"OCTOLLM_LEASE_S": "8"}


def asking(step_id: str, *texts: str, **given: Any) -> dict[str, Any]:
    """Return a planned step that asks a model."""
    return {
        "step_id": step_id,
        "arm": "asker",
        "capability": given.pop("capability", "ask"),
        "input": {"texts": list(texts), **given},
    }


def submit(system: System, *steps: dict[str, Any], **body: Any) -> str:
    return system.submit(plan={"steps": list(steps)}, **body)


def used(prompt: int, answer: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": answer}


def kill(process: Any) -> None:
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def ledger(system: System, task_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = system.client.get(f"/tasks/{task_id}/ledger").json()
    return shown


def waits(task_id: str) -> int:
    """Return how many attempts were put back because others held the budget."""
    return Attempt.objects.filter(
        step__task_id=task_id, outcome="released", error_code="budget_busy"
    ).count()


def test_step_killed_after_its_second_call_asks_the_model_once_more(
    system: System, model: FakeModel, model_settings: dict[str, str], gate: Gate
):
    answers = (completion(n, usage=used(8, 5)) for n in ("one", "two", "three"))
    model.will(*answers)
    doomed = system.start_worker(**model_settings)
    step = asking("a", "1?", "2?", "3?", gate=str(gate.path), gate_before=2)
    task_id = submit(system, step)
    mark = gate.path.with_name(f"{gate.path.name}.a.1")
    wait_until(mark.exists, timeout_s=40)

    kill(doomed)
    gate.open()
    system.start_worker(**model_settings)
    task = system.wait(task_id)

    assert task["status"] == "completed", task["error"]
    assert task["result"]["outputs"]["a"] == {"answers": ["one", "two", "three"]}
    assert len(model.requests) == 3
    charges = Charge.objects.filter(task_id=task_id).order_by("created_at")
    assert [(c.state, c.attempt, c.replay_count) for c in charges] == [
        ("settled", 1, 1),
        ("settled", 1, 1),
        ("settled", 2, 0),
    ]
    assert task["spent"]["tokens"] == 3 * 13


def test_of_equal_calls_at_once_only_the_lost_one_is_made_again(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(completion("one"), hang(), completion("one"))
    doomed = system.start_worker(**model_settings)
    task_id = submit(system, asking("a", "?", "?", "?", at_once=True))
    charges = Charge.objects.filter(task_id=task_id)
    wait_until(
        lambda: charges.filter(state="settled").count() == 2
        and len(model.requests) == 3,
        timeout_s=40,
    )

    kill(doomed)
    system.start_worker(**model_settings)
    task = system.wait(task_id)

    assert task["status"] == "completed", task["error"]
    assert len(model.requests) == 4
    assert sorted(charges.values_list("state", "attempt", "replay_count")) == [
        ("presumed", 1, 0),
        ("settled", 1, 1),
        ("settled", 1, 1),
        ("settled", 2, 0),
    ]
    lost, again = charges.exclude(replay_count=1).order_by("created_at")
    assert lost.nth == again.nth


def test_parallel_steps_wait_for_each_other_and_are_woken(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.default = slow(0.3, completion("yes", usage=used(20, 10)))
    system.start_worker(**model_settings, **ASKS_UNASKED_LATE)
    steps = [
        asking(name, f"Is it {name}?", max_output_tokens=500)
        for name in ("a", "b", "c")
    ]

    # Room for one call at its worst; each takes 30 of 500 tokens.
    task_id = submit(system, *steps, budget={"max_tokens": 700})
    task = system.wait(task_id, timeout_s=30)

    assert task["status"] == "completed", task["error"]
    assert waits(task_id) >= 1
    assert ledger(system, task_id)["overruns"]["count"] == 0


def test_a_task_whose_next_call_can_never_fit_stops_with_what_it_has(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.default = completion("yes", usage=used(20, 480))
    system.start_worker(**model_settings, **ASKS_UNASKED_LATE)
    steps = [
        asking(name, f"Is it {name}?", max_output_tokens=500)
        for name in ("a", "b", "c")
    ]

    task_id = submit(
        system, *steps, budget={"max_tokens": 1100}, acceptance_criteria=["It is good"]
    )
    task = system.wait(task_id, timeout_s=30)

    assert (task["status"], task["stop_reason"]) == ("failed", "budget_tokens")
    assert task["error"]["code"] == "budget_exceeded"
    assert "are left" in task["error"]["message"]
    assert task["result"]["partial"] is True
    assert task["spent"]["tokens"] <= 1100
    assert [c["verdict"] for c in task["result"]["criteria"]] == ["not_checked"]


def test_steps_that_hold_what_the_others_need_do_not_wait_for_ever(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.default = slow(0.2, completion("yes", usage=used(20, 50)))
    prices = {"OCTOLLM_LLM_PRICE_INPUT": "0", "OCTOLLM_LLM_PRICE_OUTPUT": "5000"}
    system.start_worker(**model_settings, **prices, **ASKS_UNASKED_LATE)
    steps = [
        asking(name, f"Is it {name}?", capability="ask_dear")
        for name in ("a", "b", "c")
    ]

    # Each holds $0.30 of $1.00, and its call may take $0.50; it takes $0.25.
    task_id = submit(system, *steps)
    task = system.wait(task_id, timeout_s=30)

    assert task["status"] == "completed", task["error"]
    assert Decimal(task["spent"]["cost_usd"]) == Decimal("0.75")
    shown = ledger(system, task_id)
    assert shown["held"] == {"cost_usd": "0.000000000", "tokens": 0}
    assert sum(Decimal(s["spent"]["cost_usd"]) for s in shown["by_step"]) == Decimal(
        "0.75"
    )


def test_parallel_steps_with_50_kb_of_context_are_not_refused_for_what_might_be(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    text = SENTENCE * (48_000 // len(SENTENCE))
    # What models make of such a text is counted in docs/budgets.md.
    model.default = completion("fine", usage=used(len(text) * 10 // 43, 50))
    system.start_worker(**model_settings)
    steps = [
        asking(name, capability="ask", max_output_tokens=1000, note=name)
        | {"input": {"texts": [{"$from": "context.text"}], "note": name}}
        for name in ("a", "b", "c")
    ]

    task_id = submit(
        system, *steps, context={"text": text}, budget={"max_tokens": 37_000}
    )
    task = system.wait(task_id)

    assert task["status"] == "completed", task["error"]
    assert Step.objects.filter(task_id=task_id, status="done", kind="work").count() == 3
    assert 33_000 < task["spent"]["tokens"] < 37_000
