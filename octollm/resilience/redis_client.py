"""This process's one client of Redis or Valkey, for all but the queue.

Nothing that is kept there is the truth: whoever asks goes on without when it is away.
"""

from __future__ import annotations

import functools
import logging
import time
from typing import Any

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

logger = logging.getLogger(__name__)

# For connecting and for each answer: a server that hangs must not hold a request.
TIMEOUT_S = 0.5
# So long ``sparing`` leaves a server alone that failed.
REST_S = 5.0


def client() -> redis.Redis:
    """Return the client of ``settings.REDIS_URL``; answers are text, not bytes.

    Safe to share between threads, and across a fork: its pool notices the new
    process. What it raises when the server is away is a ``RedisError``.
    """
    return _client(settings.REDIS_URL)


def sparing() -> redis.Redis:
    """Return the client, unless its server failed within the last ``REST_S`` seconds.

    For what can do without: a server that hangs holds up this process once, not
    everybody who would like to know something.

    Raises:
        RedisError: the server is left alone; nothing was sent.
    """
    found = _client(settings.REDIS_URL)
    if time.monotonic() - found.failed_at < REST_S:
        raise RedisConnectionError("Redis failed moments ago and is left alone.")
    return found


class _Client(redis.Redis):
    """Remembers when its server failed last (monotonic), until it answers again."""

    failed_at = float("-inf")

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            answer = super().execute_command(*args, **options)  # type: ignore[no-untyped-call] # has no types
        except (RedisConnectionError, RedisTimeoutError) as error:
            if self.failed_at < 0:
                logger.warning("Redis is away: %s", type(error).__name__)
            self.failed_at = time.monotonic()
            raise
        self.failed_at = float("-inf")
        return answer


@functools.lru_cache(maxsize=4)
def _client(url: str) -> _Client:
    pool = redis.ConnectionPool.from_url(
        url,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # Once more at once, on a new connection: the server may have been restarted.
        # Not after a time-out, which would only double.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
    return _Client(connection_pool=pool)
