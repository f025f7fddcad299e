"""Hints: messages that ask workers to look, and name no step.

They are sent by the actor's name, so that whoever sends one need not import what
runs the steps.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import cast

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# The actor of each queue; actors.py declares them under these names.
ACTORS = {"default": "look_default", "sandbox": "look_sandbox"}
# A queue that failed is left alone for so long. One that hangs would hold up each
# request for its time-out, and the reaper hints again for whatever is missed.
REST_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Hints:
    """How many looks are wanted, and in how many seconds."""

    count: int = 0
    delay_s: float = 0.0


NOTHING = Hints()


class _Rest:
    """Keeps callers from a queue that failed; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until: float | None = None

    def is_over(self) -> bool:
        """Say whether this caller may try; while it does, the others rest on."""
        with self._lock:
            if self._until is None:
                return True
            if time.monotonic() < self._until:
                return False
            self._until = time.monotonic() + REST_S
            return True

    def begin(self) -> None:
        """Rest from now on."""
        with self._lock:
            self._until = time.monotonic() + REST_S

    def end(self) -> None:
        """The queue answers."""
        self._until = None


_rest = _Rest()


def send_hints(queue: str, hints: Hints) -> None:
    """Ask workers to look; a hint that is lost is sent again by the reaper."""
    delay_ms = int(hints.delay_s * 1000) or None
    _send(queue, hints.count, delay_ms=delay_ms)


def send_missing_hints(queue: str, count: int) -> None:
    """Bring the hints that wait in a queue up to a number.

    While all workers are busy nobody takes hints away: sent again and again without
    looking, they would fill the queue's memory.
    """
    _send(queue, count, delay_ms=None, is_total=True)


def _send(
    queue: str, count: int, *, delay_ms: int | None, is_total: bool = False
) -> None:
    if count <= 0 or not _rest.is_over():
        return
    broker = cast(RedisBroker, dramatiq.get_broker())
    try:
        # Not the broker's own count: that includes retries, which wait for their time.
        waiting = broker.client.llen(f"{broker.namespace}:{queue}") if is_total else 0
        for _ in range(count - waiting):
            broker.enqueue(_look(queue), delay=delay_ms)
        _rest.end()
    except (RedisError, dramatiq.BrokerError) as error:
        _rest.begin()
        logger.warning("a hint could not be sent: %s", type(error).__name__)


def _look(queue: str) -> dramatiq.Message[None]:
    return dramatiq.Message(
        queue_name=queue, actor_name=ACTORS[queue], args=(), kwargs={}, options={}
    )
