"""One request to one provider: hold, send, settle."""

from __future__ import annotations

import json
import time

from arms.answers import Answer, CallFailedError, read_answer
from arms.contract import ArmServices, ModelCall
from arms.providers import Provider
from octollm.errors import (
    DeadlineExceededError,
    ModelAnswerError,
    ModelUnavailableError,
)
from octollm.resilience import outbound
from octollm.resilience.deadline import StopToken
from octollm.types import JSONObject, JSONValue

# Less time than this tells nothing about a provider that let it pass.
FAIR_TIME_S = 5.0


def make_call(
    provider: Provider,
    body: JSONObject,
    call: ModelCall,
    services: ArmServices,
    *,
    timeout_s: float,
) -> Answer:
    """Return what the provider answered; whatever happens, no hold stays open.

    Raises:
        CallFailedError: it gave no answer, in its own time or in all there is.
        BudgetExceededError: the reservation was refused; nothing was sent.
        CallCancelledError: somebody asked to stop.
    """
    meter = services.meter
    services.stop.check()
    charge_id = meter.reserve(call)
    started = time.monotonic()
    try:
        response = _send(provider, body, services.stop, timeout_s=timeout_s)
    except CallFailedError as failed:
        if failed.may_be_billed:
            meter.presume(charge_id)
        else:
            meter.release(charge_id)
        raise
    except BaseException:
        # Also when the process is told to stop: the request is on its way.
        meter.presume(charge_id)
        raise
    latency_s = time.monotonic() - started
    answer = read_answer(
        response, call, base_url=provider.base_url, latency_s=latency_s
    )
    if answer is None:
        meter.presume(charge_id)
        none = ModelAnswerError("The provider's answer is no chat completion.")
        raise CallFailedError(none, may_be_billed=True, is_outage=True)
    meter.settle(charge_id, answer.usage, answer.to_record())
    return answer


def _send(
    provider: Provider, body: JSONObject, stop: StopToken, *, timeout_s: float
) -> JSONValue:
    """Send the request and wait for the answer, not longer than one try may take."""
    # Imported here: it takes about a second, and most processes call no model.
    from openai import OpenAIError

    from arms.clients import client_of, send
    from arms.provider_errors import failure_of

    client = client_of(provider)
    given_s = min(timeout_s, stop.remaining_s)
    own_stop = stop.shortened(given_s)
    try:
        answer: JSONValue = json.loads(outbound.run(send(client, body), stop=own_stop))
        return answer
    except DeadlineExceededError as error:
        late = ModelUnavailableError(f"No answer came within {given_s:.3g} s.")
        raise CallFailedError(
            late if stop.remaining_s > 0 else error,
            may_be_billed=True,
            is_outage=given_s >= min(provider.timeout_s, FAIR_TIME_S),
        ) from error
    except (OpenAIError, ValueError, RecursionError) as error:
        raise failure_of(error, has_format="response_format" in body) from error
    finally:
        stop.forget(own_stop.cancel)
