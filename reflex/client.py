"""The client of a reflex elsewhere: three tries within one deadline, fail closed.

It is asked for spans only. All processes share the breaker ``reflex``: while that is
open, nobody waits to learn again that nobody is there.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import Callable
from random import SystemRandom

from django.conf import settings
from pydantic import ValidationError

from octollm import metrics
from octollm.errors import DeadlineExceededError, ScreeningUnavailableError
from octollm.resilience import breakers, outbound
from octollm.resilience.deadline import StopToken
from octollm.resilience.exchange import Answer, ExchangeError, exchange
from reflex.answers import RemoteAnswer, RemoteReadiness
from reflex.decide import Checkpoint
from reflex.found import Found
from reflex.windows import find_in_windows

logger = logging.getLogger(__name__)

BREAKER = "reflex"
ATTEMPTS = 3
# The first pause is drawn from the first second on, later ones up to the last.
PAUSE_MIN_S = 1.0
PAUSE_MAX_S = 5.0
READY_TIMEOUT_S = 2.0
# A match takes some 100 bytes, and no text has more than half its length of them.
MAX_ANSWER_BYTES = 8 * 2**20

_SURROGATE = re.compile("[\ud800-\udfff]")
_random = SystemRandom()


def find(
    text: str, *, checkpoint: Checkpoint, stop: StopToken
) -> tuple[list[Found], str]:
    """Return what the other reflex finds, by position, and the version of its rules.

    Raises:
        ScreeningUnavailableError: it does not say; ``retry_after_s`` says when to ask
            again, if anybody knows.
        CallCancelledError: somebody asked to stop.
    """
    versions: list[str] = []

    def find_in(part: str) -> list[Found]:
        answer = _persistently(part, checkpoint, stop)
        versions.append(answer.ruleset_version)
        return answer.found()

    # Half of a surrogate pair cannot be sent; one sign stands for one.
    found = find_in_windows(_SURROGATE.sub("\ufffd", text), find_in)
    return found, versions[-1]


def readiness() -> str:
    """Say why the other reflex is not ready; nothing when it is.

    Asks it once, whatever the breaker says, and counts for nothing there.
    """
    stop = StopToken(READY_TIMEOUT_S)
    try:
        answer = exchange(_url("ready"), stop=stop, max_bytes=65_536)
    except (ExchangeError, DeadlineExceededError):
        return "the remote reflex cannot be reached"
    try:
        status = RemoteReadiness.model_validate_json(answer.body).status
    except ValidationError:
        return "what answers at OCTOLLM_REFLEX_URL is no reflex"
    if answer.status != 200 or status != "ready":
        return "the remote reflex is not ready"
    return ""


class _FailedError(Exception):
    """One try failed by the other side's making; another may help."""


def _persistently(text: str, checkpoint: Checkpoint, stop: StopToken) -> RemoteAnswer:
    # The shortest copy, since none is wanted.
    wish = {"text": text, "checkpoint": checkpoint, "redaction": "remove"}
    content = json.dumps(wish).encode()
    for number in range(1, ATTEMPTS + 1):
        permit = breakers.ask(BREAKER)
        if not permit.is_allowed:
            raise _unavailable("is left alone after failures", wait_s=permit.wait_s)
        try:
            return _guarded(lambda: _once(content, text, stop))
        except _FailedError as error:
            logger.warning("the remote reflex failed: %s", error)
            pause_s = _pause_s(number)
            if number == ATTEMPTS or pause_s >= stop.remaining_s:
                raise _unavailable(str(error)) from error
            outbound.run(asyncio.sleep(pause_s), stop=stop)
    raise AssertionError("unreachable: the last try returns or raises")


def _guarded(attempt: Callable[[], RemoteAnswer]) -> RemoteAnswer:
    """Tell the breaker how an attempt went, also when it told nothing."""
    outcome = "refused"
    try:
        answer = attempt()
        outcome = "answered"
    except _FailedError:
        breakers.failed(BREAKER)
        outcome = "failed"
        raise
    except BaseException:
        # Cancelled, or refused for what we sent: no sign of how well it is.
        breakers.hand_back(BREAKER)
        raise
    finally:
        metrics.REFLEX_REMOTE.labels(outcome).inc()
    breakers.succeeded(BREAKER)
    return answer


def _once(content: bytes, text: str, stop: StopToken) -> RemoteAnswer:
    own_stop = stop.shortened(settings.OCTOLLM_REFLEX_TIMEOUT_S / ATTEMPTS)
    try:
        answer = exchange(
            _url("process"),
            stop=own_stop,
            max_bytes=MAX_ANSWER_BYTES,
            content=content,
            token=settings.OCTOLLM_REFLEX_TOKEN,
        )
    except ExchangeError as error:
        raise _FailedError(str(error)) from error
    except DeadlineExceededError as error:
        raise _FailedError("it did not answer in time") from error
    finally:
        stop.forget(own_stop.cancel)
    if answer.status != 200:
        raise _refusal(answer)
    return _read(answer, text)


def _read(answer: Answer, text: str) -> RemoteAnswer:
    try:
        read = RemoteAnswer.model_validate_json(answer.body)
        read.check(len(text))
    except ValueError:
        # Without the cause: its message quotes what came.
        raise _FailedError("its answer cannot be read") from None
    return read


def _refusal(answer: Answer) -> Exception:
    if not 400 <= answer.status < 500:
        return _FailedError(f"it answered with status {answer.status}")
    if answer.status == 429:
        wait_s = _seconds(answer.headers.get("retry-after", ""))
        breakers.hold_off(BREAKER, seconds=wait_s)
        return _unavailable("takes no more just now", wait_s=wait_s)
    return _unavailable(
        f"refuses our requests (status {answer.status}): check OCTOLLM_REFLEX_URL and "
        "OCTOLLM_REFLEX_TOKEN"
    )


def _seconds(text: str) -> float:
    return float(text) if text.isascii() and text.isdecimal() else 1.0


def _unavailable(why: str, *, wait_s: float = 0.0) -> ScreeningUnavailableError:
    return ScreeningUnavailableError(
        f"The text cannot be screened now: the remote reflex {why.removeprefix('it ')}.",
        retry_after_s=wait_s or None,
    )


def _pause_s(number: int) -> float:
    return _random.uniform(PAUSE_MIN_S, min(PAUSE_MAX_S, PAUSE_MIN_S * 2.0**number))


def _url(path: str) -> str:
    return f"{settings.OCTOLLM_REFLEX_URL.rstrip('/')}/{path}"
