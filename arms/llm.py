"""The one door to models: any server that speaks OpenAI's chat completions.

Whatever goes out is screened once more, priced, and held on the ledger before it is
sent; whatever comes back is read as untrusted. Calls run on the outbound loop, so
their deadline is the wall clock's and a cancel closes the socket.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import os
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import SystemRandom
from typing import TYPE_CHECKING, Any, Final, Literal

from django.conf import settings

from arms.answers import Answer, Completion, from_record, read_answer
from arms.contract import ArmServices, ModelCall
from arms.pricing import price_of
from octollm.errors import (
    DeadlineExceededError,
    ModelAnswerError,
    ModelError,
    ModelMisconfiguredError,
    ModelUnavailableError,
)
from octollm.resilience import outbound
from octollm.resilience.backoff import full_jitter
from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject, JSONValue
from reflex.fingerprints import fingerprint
from reflex.screening import find_pii

if TYPE_CHECKING:
    from openai import AsyncOpenAI

logger = logging.getLogger(__name__)

MAX_TRIES = 3
RETRY_BASE_S = 0.5
RETRY_CAP_S = 8.0
CONNECT_TIMEOUT_S = 5.0

#: As ``json_schema``: asks for JSON mode, any object, instead of a schema.
ANY_OBJECT: Final[Mapping[str, JSONValue]] = {"type": "object"}

_random = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True)
class _Outgoing:
    """A call as it is sent, and what it may cost at most."""

    body: JSONObject
    call: ModelCall
    has_format: bool


def is_configured() -> bool:
    """Tell whether an operator has named a model."""
    return bool(settings.OCTOLLM_LLM_BASE_URL and settings.OCTOLLM_LLM_MODEL)


def complete(
    messages: Sequence[Message],
    *,
    purpose: str,
    services: ArmServices,
    max_output_tokens: int,
    temperature: float = 0.3,
    json_schema: Mapping[str, JSONValue] | None = None,
) -> Completion:
    """Return the model's answer to ``messages``.

    Tries at most three times within the deadline of ``services.stop``. An attempt
    that repeats a call of an earlier one gets the recorded answer.

    Args:
        messages: the prompt; PII and secrets in it leave as their type's name.
        purpose: ``planning``, ``judging``, ``coding`` or ``analysis``.
        services: whose meter pays and whose clock counts.
        max_output_tokens: the limit sent to the provider.
        temperature: 0.0 to 2.0.
        json_schema: asks for an answer of that shape, ``ANY_OBJECT`` for any JSON
            object; the answer still has to be checked.

    Raises:
        ModelUnavailableError: the provider cannot answer now; a retry may help.
        ModelFormatError: it does not take ``json_schema``; ask in a plainer form.
        ModelError: it refused, was cut off, is misconfigured or has no price.
        BudgetExceededError: the reservation was refused.
        DeadlineExceededError: the time is over.
        CallCancelledError: somebody asked to stop.
    """
    if not is_configured():
        raise ModelMisconfiguredError("No model is configured.")
    outgoing = _outgoing(
        messages,
        purpose=purpose,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        json_schema=json_schema,
    )
    record = services.meter.replay(outgoing.call.request_hash)
    if record is not None:
        return from_record(record).completion(is_replayed=True)
    return _try(outgoing, services).completion()


def guarded(text: str) -> str:
    """Return ``text`` with everything that looks private replaced by its type.

    What arrives here is concealed already; this holds when a caller forgot.
    """
    shown, end = [], 0
    for finding in find_pii(text):
        shown += [text[end : finding.start], f"[{finding.type}]"]
        end = finding.end
    return "".join((*shown, text[end:]))


def _outgoing(
    messages: Sequence[Message],
    *,
    purpose: str,
    max_output_tokens: int,
    temperature: float,
    json_schema: Mapping[str, JSONValue] | None,
) -> _Outgoing:
    base_url, model = settings.OCTOLLM_LLM_BASE_URL, settings.OCTOLLM_LLM_MODEL
    texts = [guarded(message.content) for message in messages]
    body: JSONObject = {
        "model": model,
        "messages": [
            {"role": message.role, "content": text}
            for message, text in zip(messages, texts, strict=True)
        ],
        "max_tokens": max_output_tokens,
        "temperature": temperature,
    }
    if json_schema is not None:
        body["response_format"] = _response_format(json_schema)
    call = ModelCall(
        purpose=purpose,
        model=model,
        request_hash=fingerprint({"url": base_url, "body": body}, purpose="llm"),
        input_tokens=_input_bound(texts, body.get("response_format")),
        output_tokens=max_output_tokens,
        price=price_of(base_url, model),
    )
    return _Outgoing(body=body, call=call, has_format=json_schema is not None)


def _response_format(json_schema: Mapping[str, JSONValue]) -> JSONObject:
    if json_schema == ANY_OBJECT:
        return {"type": "json_object"}
    return {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": dict(json_schema), "strict": True},
    }


def _input_bound(texts: Sequence[str], response_format: JSONValue) -> int:
    """Return a pessimistic count of tokens: English has some four bytes to one.

    Providers that put the schema into the prompt count it too.
    """
    parts = [*texts, json.dumps(response_format)] if response_format else texts
    return sum(math.ceil(len(part.encode()) / 3) + 4 for part in parts)


def _try(outgoing: _Outgoing, services: ArmServices) -> Answer:
    for attempt in range(1, MAX_TRIES):
        try:
            return _charged(outgoing, services)
        except ModelUnavailableError as error:
            pause_s = _pause_s(error, attempt)
            if pause_s >= services.stop.remaining_s:
                raise
            logger.warning("a model call failed and is tried again: %s", error.code)
            outbound.run(asyncio.sleep(pause_s), stop=services.stop)
    return _charged(outgoing, services)


def _pause_s(error: ModelUnavailableError, attempt: int) -> float:
    pause_s = full_jitter(
        attempt, base_s=RETRY_BASE_S, cap_s=RETRY_CAP_S, random=_random
    )
    return max(pause_s, error.retry_after_s or 0.0)


def _charged(outgoing: _Outgoing, services: ArmServices) -> Answer:
    """Hold, send, settle: whatever happens, the hold does not stay open."""
    client = _client(settings.OCTOLLM_LLM_BASE_URL, settings.OCTOLLM_LLM_API_KEY)
    meter = services.meter
    services.stop.check()
    charge_id = meter.reserve(outgoing.call)
    started = time.monotonic()
    try:
        response = _send(client, outgoing, services.stop)
    except _NotSentError as error:
        meter.release(charge_id)
        raise error.cause from error
    except BaseException:
        # Also when the process is told to stop: the request is on its way.
        meter.presume(charge_id)
        raise
    latency_s = time.monotonic() - started
    answer = read_answer(response, outgoing.call, latency_s=latency_s)
    if answer is None:
        meter.presume(charge_id)
        raise ModelAnswerError("The provider's answer is no chat completion.")
    meter.settle(charge_id, answer.usage, answer.to_record())
    return answer


class _NotSentError(Exception):
    """Nothing was done for the request, so nothing is owed.

    Attributes:
        cause: what to raise instead.
    """

    def __init__(self, cause: ModelError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _send(client: AsyncOpenAI, outgoing: _Outgoing, stop: StopToken) -> object:
    """Send the request and wait for the answer, not longer than one call may take."""
    from openai import OpenAIError

    from arms.provider_errors import failure_of

    timeout_s: float = settings.OCTOLLM_LLM_TIMEOUT_S
    own_stop = stop.shortened(timeout_s)
    body: dict[str, Any] = dict(outgoing.body)
    try:
        return outbound.run(client.chat.completions.create(**body), stop=own_stop)
    except DeadlineExceededError as error:
        if stop.remaining_s <= 0:
            raise
        late = f"The model did not answer within {timeout_s:g} s."
        raise ModelUnavailableError(late) from error
    except (OpenAIError, ValueError, RecursionError) as error:
        failure = failure_of(error, has_format=outgoing.has_format)
        if failure.may_be_billed:
            raise failure.error from error
        raise _NotSentError(failure.error) from error
    finally:
        stop.forget(own_stop.cancel)


_clients: dict[tuple[int, str, str], AsyncOpenAI] = {}
_clients_lock = threading.Lock()


def _client(base_url: str, api_key: str) -> AsyncOpenAI:
    """Return this process's client for one address and key.

    A client per call would set up TLS anew each time; one from before a fork would
    share its sockets with the parent.
    """
    with _clients_lock:
        key = (os.getpid(), base_url, api_key)
        if key not in _clients:
            _clients[key] = _new_client(base_url, api_key)
            outbound.on_shutdown(_close_clients)
        return _clients[key]


def _new_client(base_url: str, api_key: str) -> AsyncOpenAI:
    # Imported here: it takes about a second, and most processes call no model.
    from openai import AsyncOpenAI, DefaultAsyncHttpx2Client, Timeout

    # Our own clock ends a call; this one only gives up early on a dead address.
    timeout = Timeout(None, connect=CONNECT_TIMEOUT_S)
    client = AsyncOpenAI(
        base_url=base_url,
        # The library refuses an empty key; servers at home ignore it.
        api_key=api_key or "none",
        max_retries=0,
        timeout=timeout,
        # A redirect would carry the prompt to an address nobody configured.
        http_client=DefaultAsyncHttpx2Client(follow_redirects=False, timeout=timeout),
    )
    # The library takes these from OPENAI_* in the environment for any address; what
    # is meant for one provider must not reach another.
    client.organization = client.project = client.admin_api_key = None
    client._custom_headers = {}
    return client


async def _close_clients() -> None:
    with _clients_lock:
        clients = [each for key, each in _clients.items() if key[0] == os.getpid()]
        _clients.clear()
    for client in clients:
        await client.close()


def _forget_lock() -> None:
    # Another thread of the parent may have held it at the fork.
    global _clients_lock
    _clients_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)
