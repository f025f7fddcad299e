"""Whether a provider may be asked now: its breaker and its limits per minute.

Both are shared by all processes, so one worker's 429 tells every worker.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from arms.answers import CallFailedError
from arms.contract import ModelCall
from arms.providers import Provider
from octollm.errors import ModelUnavailableError, OctoLLMError
from octollm.resilience import breakers, outbound, rates
from octollm.resilience.deadline import StopToken


@dataclass
class Quota:
    """What was taken of the tokens per minute; ``used`` is set when it is known."""

    used: int


@contextmanager
def admitted(
    provider: Provider, call: ModelCall, *, stop: StopToken, patience_s: float
) -> Iterator[Quota]:
    """Wait for the provider, not longer than ``patience_s``, then let one call be made.

    What the call did not use of its tokens is given back.

    Raises:
        ModelUnavailableError: it would take longer.
        DeadlineExceededError: the time is over.
        CallCancelledError: somebody asked to stop.
    """
    gate = _Gate(provider, stop, until=time.monotonic() + patience_s)
    tokens = call.input_tokens + call.output_tokens
    per_minute = provider.tokens_per_minute
    gate.pass_when(lambda: _breaker_wait_s(provider))
    scope = f"{_name(provider)}:tokens"
    try:
        gate.pass_when(
            lambda: rates.take(
                f"{_name(provider)}:requests",
                1,
                per_minute=provider.requests_per_minute,
            )
        )
        gate.pass_when(lambda: rates.take(scope, tokens, per_minute=per_minute))
    except OctoLLMError:
        note_unasked(provider)
        raise
    quota = Quota(used=tokens)
    try:
        yield quota
    finally:
        rates.give_back(scope, tokens - quota.used, per_minute=per_minute)


def note_unasked(provider: Provider) -> None:
    """Leave it to another caller to find out how the provider is."""
    breakers.hand_back(_name(provider))


def note_success(provider: Provider) -> None:
    """Tell everybody that the provider is well."""
    breakers.succeeded(_name(provider))


def note_failure(provider: Provider, failed: CallFailedError) -> None:
    """Tell everybody what a failure says about the provider, if it says anything."""
    if failed.hold_off_s:
        breakers.hold_off(_name(provider), seconds=failed.hold_off_s)
    if failed.is_outage:
        breakers.failed(_name(provider))
    elif not (failed.hold_off_s or failed.may_be_billed):
        # It refused this request and is well; a probe has to hear of it.
        breakers.succeeded(_name(provider))


class _Gate:
    """Waits on the outbound loop, where a cancel ends the wait."""

    def __init__(self, provider: Provider, stop: StopToken, *, until: float) -> None:
        self._provider = provider
        self._stop = stop
        self._until = until

    def pass_when(self, take: Callable[[], float]) -> None:
        """Ask ``take`` until it grants: 0.0, or else the seconds to wait."""
        while (wait_s := take()) > 0:
            left_s = min(self._until - time.monotonic(), self._stop.remaining_s)
            if wait_s >= left_s:
                raise ModelUnavailableError(
                    f"The provider “{self._provider.name}” is not to be asked now.",
                    retry_after_s=wait_s,
                )
            outbound.run(asyncio.sleep(wait_s), stop=self._stop)


def _breaker_wait_s(provider: Provider) -> float:
    permit = breakers.ask(_name(provider))
    return 0.0 if permit.is_allowed else max(permit.wait_s, 0.01)


def _name(provider: Provider) -> str:
    return f"llm:{provider.name}"
