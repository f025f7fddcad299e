"""Hints: messages that ask workers to look, and name no step.

They are sent by the actor's name, so that whoever sends one need not import what
runs the steps.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import dramatiq
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

# The actor of each queue; actors.py declares them under these names.
ACTORS = {"default": "look_default", "sandbox": "look_sandbox"}


@dataclass(frozen=True, kw_only=True)
class Hints:
    """How many looks are wanted, and in how many seconds."""

    count: int = 0
    delay_s: float = 0.0


NOTHING = Hints()


def send_hints(queue: str, hints: Hints) -> None:
    """Ask workers to look; a hint that is lost is sent again by the reaper."""
    delay_ms = int(hints.delay_s * 1000) or None
    broker = dramatiq.get_broker()
    try:
        for _ in range(hints.count):
            broker.enqueue(_look(queue), delay=delay_ms)
    except (RedisError, dramatiq.BrokerError) as error:
        logger.warning("a hint could not be sent: %s", type(error).__name__)


def _look(queue: str) -> dramatiq.Message[None]:
    return dramatiq.Message(
        queue_name=queue, actor_name=ACTORS[queue], args=(), kwargs={}, options={}
    )
