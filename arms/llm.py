"""The one door to models: any servers that speak OpenAI's chat completions.

A call, in order: what leaves is screened once more; an answer that was paid for is
replayed; then the providers are asked in the operator's order, each behind its
breaker and its limits, held on the ledger, in the strictest form that it takes; the
first answer counts, whatever it says. Calls run on the outbound loop, so their
deadline is the wall clock's and a cancel closes the socket.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import import_module

from arms.answers import Answer, Completion, from_record
from arms.asking import Asking
from arms.contract import ArmServices, ModelCall
from arms.providers import (
    PURPOSES,
    Provider,
    dearest_price,
    known_models,
    providers_for,
)
from arms.questions import RUNGS, Message, Question, make_question
from octollm.errors import (
    ModelError,
    ModelMisconfiguredError,
    ModelUnavailableError,
    UnpricedModelError,
)
from octollm.types import JSONValue

__all__ = [
    "Message",
    "complete",
    "dearest_price",
    "identity",
    "is_configured",
    "known_models",
    "load_client",
    "worst_case",
]

logger = logging.getLogger(__name__)


def is_configured(purpose: str = "planning", model: str = "") -> bool:
    """Tell whether an operator has named a model for a purpose, or that very one.

    Settings that cannot be read name one: whoever asks it is told what is wrong.
    """
    try:
        return bool(providers_for(purpose, model))
    except ModelMisconfiguredError:
        return True


def load_client() -> None:
    """Load the client library, before the first call would wait for it.

    It takes most of a second in which hardly another thread of the process runs.
    """
    if any(is_configured(purpose) for purpose in PURPOSES):
        import_module("arms.clients")


def identity(purpose: str) -> str:
    """Return which models at which addresses answer for a purpose, in order.

    For keys of caches; it holds no secret.

    Raises:
        ModelMisconfiguredError: the settings cannot be read.
    """
    return ", ".join(
        f"{provider.model_for(purpose)} at {provider.base_url}"
        for provider in providers_for(purpose)
    )


def complete(
    messages: Sequence[Message],
    *,
    purpose: str,
    services: ArmServices,
    max_output_tokens: int,
    temperature: float = 0.3,
    json_schema: Mapping[str, JSONValue] | None = None,
) -> Completion:
    """Return a model's answer to ``messages``.

    An attempt that repeats a question of an earlier one gets the recorded answer,
    whoever gave it. A refusal, a cut-off and an empty answer are answers: nobody else
    is asked.

    Args:
        messages: the prompt; PII and secrets in it leave as their type's name.
        purpose: ``planning``, ``judging``, ``coding`` or ``analysis``.
        services: whose meter pays and whose clock counts, and which model alone
            may be asked, if it is bound to one.
        max_output_tokens: the limit sent to the provider.
        temperature: 0.0 to 2.0.
        json_schema: the shape to ask for, closed and with every key required; the
            prompt should tell it too, for a server that cannot be asked in this form
            is asked for any JSON or for text. The answer still has to be checked.

    Raises:
        ModelUnavailableError: nobody can answer now; a retry may help.
        ModelError: the model refused, was cut off, is misconfigured or has no price.
        BudgetExceededError: the reservation was refused.
        DeadlineExceededError: the time is over.
        CallCancelledError: somebody asked to stop.
    """
    question = make_question(
        messages,
        purpose=purpose,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        json_schema=json_schema,
    )
    recorded = services.meter.replay(question.hash)
    if recorded.reply is not None:
        return from_record(recorded.reply).completion(is_replayed=True)
    question = replace(question, nth=recorded.nth)
    return _first_answer(question, services).completion()


def worst_case(
    messages: Sequence[Message],
    *,
    purpose: str,
    max_output_tokens: int,
    json_schema: Mapping[str, JSONValue],
    model: str = "",
) -> ModelCall:
    """Return what a question would be held at: longest form, highest price.

    ``model`` is the only one that may be asked, if the task is bound to one.

    Raises:
        UnpricedModelError: nobody knows a price.
        ModelMisconfiguredError: the settings cannot be read, or name nobody.
    """
    question = make_question(
        messages,
        purpose=purpose,
        max_output_tokens=max_output_tokens,
        temperature=0.0,
        json_schema=json_schema,
    )
    price = dearest_price(purpose, model)
    return question.call(providers_for(purpose, model)[0], RUNGS[0], price)


def _first_answer(question: Question, services: ArmServices) -> Answer:
    """Ask the providers in order until one answers."""
    providers = providers_for(question.purpose, services.model)
    failures: list[ModelError] = []
    for left, provider in zip(range(len(providers), 0, -1), providers, strict=True):
        try:
            return Asking(provider, question, services, is_last=left == 1).answer()
        except ModelError as error:
            _log(provider, error)
            failures.append(error)
    raise _most_telling(failures)


def _most_telling(failures: Sequence[ModelError]) -> ModelError:
    """Return the failure to tell: one that passes soonest, else the preferred one's.

    While anybody may answer later, the question should be asked again.
    """
    if not failures:
        return ModelMisconfiguredError("No model is configured.")
    passing = [each for each in failures if isinstance(each, ModelUnavailableError)]
    return min(passing, key=lambda each: each.retry_after_s or 0.0, default=failures[0])


def _log(provider: Provider, error: ModelError) -> None:
    # Only a person can mend the one; the other passes.
    is_mended_by_hand = isinstance(error, ModelMisconfiguredError | UnpricedModelError)
    level = logging.ERROR if is_mended_by_hand else logging.WARNING
    logger.log(level, "a provider gave no answer: %s: %s", provider.name, error.message)
