"""What a model costs, by the settings that a worker was started with."""

from __future__ import annotations

from tests.fakes import FakeModel
from tests.flow.conftest import System, gate_step, planned


def test_call_that_has_no_price_is_refused(system: System, model: FakeModel):
    system.start_worker(
        OCTOLLM_LLM_BASE_URL="https://models.invalid/v1", OCTOLLM_LLM_MODEL="unheard-of"
    )

    task = system.wait(system.submit("Write a novel about an octopus"))

    assert (task["status"], task["error"]["code"]) == ("failed", "unpriced_model")


def test_settled_dollars_follow_the_price(system: System, model: FakeModel):
    system.start_worker(
        OCTOLLM_LLM_BASE_URL=model.base_url,
        OCTOLLM_LLM_MODEL="fake-model",
        OCTOLLM_LLM_PRICE_INPUT="2",
        OCTOLLM_LLM_PRICE_OUTPUT="10",
    )
    model.will(planned(gate_step("a"), gate_step("b"), gate_step("c")))

    task = system.wait(system.submit())

    # 100 tokens in at $2 and 50 out at $10 per million
    assert task["spent"]["cost_usd"] == "0.000700000"


def test_settled_dollars_know_what_was_cached(system: System, model: FakeModel):
    system.start_worker(
        OCTOLLM_LLM_BASE_URL=model.base_url,
        OCTOLLM_LLM_MODEL="fake-model",
        OCTOLLM_LLM_PRICE_INPUT="2",
        OCTOLLM_LLM_PRICE_OUTPUT="10",
        OCTOLLM_LLM_PRICE_CACHED="0.5",
    )
    usage = {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "prompt_tokens_details": {"cached_tokens": 60},
    }
    steps = (gate_step("a"), gate_step("b"), gate_step("c"))
    model.will(planned(*steps, usage=usage))

    task = system.wait(system.submit())

    # 40 tokens in at $2, 60 cached at $0.50 and 50 out at $10 per million
    assert task["spent"]["cost_usd"] == "0.000610000"
