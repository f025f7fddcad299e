"""Limits per minute that all processes share, kept in Redis.

Each scope is a bucket that holds one minute's worth and fills evenly, which is how
providers count. Redis away: everything is granted, and the provider's own 429 is
what is left.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from redis.exceptions import RedisError

from octollm.resilience import redis_client

logger = logging.getLogger(__name__)

# A server that failed is left alone for so long: a hung one would hold up each call.
REST_S = 2.0
# Its failures are told once in so long.
LOG_EVERY_S = 60.0

# Takes ARGV[1] of ARGV[2] a minute; a negative amount gives back. Returns "0" or the
# seconds until it could be taken. A full bucket grants more than it holds, or an
# amount above the limit would wait for ever; the debt is paid before the next one.
# After a blank comes what is left in the bucket.
# The clock is the server's. A key ends when its bucket would be full.
_TURN = """
local amount, limit = tonumber(ARGV[1]), tonumber(ARGV[2])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level = limit
if kept[1] then
  local elapsed = math.max(0, now - kept[2])
  level = math.min(limit, kept[1] + elapsed * limit / 60)
end
local missing = math.min(amount, limit) - level
if missing > 0 then
  return string.format('%.6f %.3f', math.max(missing * 60 / limit, 0.001), level)
end
level = math.min(limit, level - amount)
redis.call('HSET', KEYS[1], 'level', string.format('%.6f', level),
           'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil((limit - level) * 60000 / limit) + 1000)
return string.format('0 %.3f', level)
"""


@dataclass(frozen=True, kw_only=True)
class Level:
    """How one wish was met.

    Attributes:
        wait_s: seconds until it could be granted; 0.0 if it was.
        left: what the scope may take now.
    """

    wait_s: float
    left: float


def take(scope: str, amount: int, *, per_minute: int) -> float:
    """Take ``amount`` of a scope's minute, or say how long to wait for it, seconds.

    0.0 means granted. More than a whole minute's worth is granted when nothing was
    taken for a minute. A limit of 0 or less is none.
    """
    if amount <= 0 or per_minute <= 0:
        return 0.0
    return _turn(scope, amount, per_minute).wait_s


def take_and_tell(scope: str, amount: int, *, per_minute: int) -> Level:
    """Take like ``take``, of a limit above 0, and tell what is left as well."""
    return _turn(scope, amount, per_minute)


def give_back(scope: str, amount: int, *, per_minute: int) -> None:
    """Return what was taken and not used; more than one minute's worth is not kept."""
    if amount > 0 and per_minute > 0:
        _turn(scope, -amount, per_minute)


class _Outage:
    """Keeps callers from a server that failed; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._until = 0.0
        self._silent_until = 0.0

    def is_on(self) -> bool:
        return time.monotonic() < self._until

    def begin(self, error: RedisError) -> None:
        now = time.monotonic()
        with self._lock:
            self._until = now + REST_S
            if now < self._silent_until:
                return
            self._silent_until = now + LOG_EVERY_S
        logger.warning("rates are not limited: %s", type(error).__name__)


_outage = _Outage()


def _turn(scope: str, amount: int, per_minute: int) -> Level:
    if _outage.is_on():
        return Level(wait_s=0.0, left=float(per_minute))
    try:
        script = redis_client.sparing().register_script(_TURN)
        told = script(keys=[f"octollm:rates:{scope}"], args=[amount, per_minute])
    except RedisError as error:
        _outage.begin(error)
        return Level(wait_s=0.0, left=float(per_minute))
    wait_s, left = str(told).split(" ")
    return Level(wait_s=float(wait_s), left=float(left))
