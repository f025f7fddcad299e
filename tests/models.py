"""A fake model that the settings point at, and a question to ask it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from arms.answers import Completion
from arms.llm import Message, complete
from octollm.resilience import outbound, redis_client
from tests.fakes import FakeModel
from tests.ledgers import MemoryMeter, make_services

PROMPT = (
    Message(role="system", content="You answer briefly."),
    Message(role="user", content="How many reviews are there? Answer in JSON."),
)
SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"n": {"type": "integer"}},
    "required": ["n"],
    "additionalProperties": False,
}


@contextmanager
def model_in_settings(settings: Any) -> Iterator[FakeModel]:
    """Serve a model as the one provider of the settings; needs the engines."""
    forget_limits()
    with FakeModel() as fake:
        settings.OCTOLLM_LLM_BASE_URL = fake.base_url
        settings.OCTOLLM_LLM_MODEL = "fake-model"
        settings.OCTOLLM_LLM_API_KEY = "key-of-tests"
        yield fake
        outbound.shutdown()


def forget_limits() -> None:
    """Forget what was taken of the providers' minutes: their names come again."""
    redis = redis_client.client()
    for key in redis.scan_iter("octollm:rates:llm:*"):
        redis.delete(key)


def ask(
    meter: MemoryMeter | None = None, *, timeout_s: float = 20.0, **options: Any
) -> Completion:
    """Ask the question of all tests."""
    fields: dict[str, Any] = {
        "messages": PROMPT,
        "purpose": "planning",
        "max_output_tokens": 200,
    }
    services = make_services(meter, timeout_s=timeout_s)
    return complete(services=services, **(fields | options))


def formats(model: FakeModel) -> list[str | None]:
    """Return which answer formats a model was asked for, in order."""
    asked = [request.body.get("response_format") for request in model.requests]
    return [each["type"] if each else None for each in asked]
