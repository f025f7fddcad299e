"""This process's one client of Redis or Valkey, for all but the queue.

Nothing that is kept there is the truth: whoever asks goes on without when it is away.
"""

from __future__ import annotations

import functools

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.retry import Retry

# For connecting and for each answer: a server that hangs must not hold a request.
TIMEOUT_S = 0.5


def client() -> redis.Redis:
    """Return the client of ``settings.REDIS_URL``; answers are text, not bytes.

    Safe to share between threads, and across a fork: its pool notices the new
    process. What it raises when the server is away is a ``RedisError``.
    """
    return _client(settings.REDIS_URL)


@functools.lru_cache(maxsize=4)
def _client(url: str) -> redis.Redis:
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        # Once more at once, on a new connection: the server may have been restarted.
        # Not after a time-out, which would only double.
        retry=Retry(NoBackoff(), 1, supported_errors=(RedisConnectionError,)),
    )
