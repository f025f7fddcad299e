"""A plan that was made before, for another task of the same owner."""

from __future__ import annotations

from tests.fakes import FakeModel
from tests.flow.conftest import System, gate_step, planned


def test_plan_of_the_cache_is_shown_as_such_and_paid_once(
    system: System, model: FakeModel, model_settings: dict[str, str]
):
    model.will(planned(gate_step("a"), gate_step("b", "a"), gate_step("c", "b")))
    system.start_worker(OCTOLLM_PLAN_CACHE_TTL_S="60", **model_settings)
    system.wait(system.submit())

    task = system.wait(system.submit(plan_only=True))

    shown = system.client.get(f"/tasks/{task['task_id']}/plan").json()
    assert shown["source"] == task["result"]["plan"]["source"] == "cache"
    assert task["result"]["quote"]["planning_tokens"] == 0
    assert len(model.requests) == 1
