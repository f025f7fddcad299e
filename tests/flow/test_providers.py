"""Several model providers, by the settings that a worker was started with."""

from __future__ import annotations

import json
from typing import Any

from tasks_app.models import Charge
from tests.fakes import FakeModel, completion, error
from tests.flow.conftest import System, gate_step, planned

STEPS = (gate_step("a"), gate_step("b"), gate_step("c"))


def entry(name: str, model: FakeModel, **fields: Any) -> dict[str, Any]:
    return {"name": name, "base_url": model.base_url, "model": f"{name}-1"} | fields


def test_the_next_provider_plans_and_is_charged_at_its_price(
    system: System, model: FakeModel
):
    model.will(planned(*STEPS))
    with FakeModel(default=error(401)) as broken:
        listed = [
            entry("broken", broken),
            entry("sound", model, price={"input": 2, "output": 10}),
        ]
        system.start_worker(OCTOLLM_LLM_PROVIDERS=json.dumps(listed))

        task = system.wait(system.submit())

    charges = Charge.objects.filter(task_id=task["task_id"]).order_by("created_at")
    assert task["status"] == "completed", task
    assert task["spent"]["cost_usd"] == "0.000700000"
    assert [(each.provider, each.state) for each in charges] == [
        ("broken", Charge.State.RELEASED),
        ("sound", Charge.State.SETTLED),
    ]
    assert charges[1].rung == "json_schema"


def test_each_purpose_asks_its_own_model(system: System, model: FakeModel):
    model.will(planned(*STEPS))
    verdict = {"id": "c0", "verdict": "met", "evidence": "It is.", "score": 1.0}
    model.default = completion(json.dumps({"verdicts": [verdict]}))
    models = {"planning": "planner-1", "judging": "judge-1"}
    listed = [{"name": "one", "base_url": model.base_url, "models": models}]
    system.start_worker(OCTOLLM_LLM_PROVIDERS=json.dumps(listed))

    task = system.wait(system.submit(acceptance_criteria=["It sounds friendly"]))

    asked = [request.body["model"] for request in model.requests]
    assert task["status"] == "completed", task
    assert asked == ["planner-1", "judge-1"]


def test_settings_that_cannot_be_read_fail_a_task_and_say_so(
    system: System, model: FakeModel
):
    system.start_worker(OCTOLLM_LLM_PROVIDERS="[{}]")

    task = system.wait(system.submit("Write a novel about an octopus"))

    assert (task["status"], task["error"]["code"]) == ("failed", "model_misconfigured")
