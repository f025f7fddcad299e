"""How many texts a caller may send in a minute, and the headers that tell.

All processes count together in Redis. Where none is set, each process counts for
itself; where it is away, nobody is limited.
"""

from __future__ import annotations

import math
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings

from octollm.resilience import rates
from reflex.fingerprints import fingerprint

# So many callers are counted without Redis; the one unheard of for longest is dropped.
_MAX_CALLERS = 10_000


@dataclass(frozen=True, kw_only=True)
class Grant:
    """Whether a request is within its caller's limit.

    Attributes:
        limit: a minute's worth; 0 if there is none.
        left: of it, at this moment.
        wait_s: until the request would be granted; 0.0 if it is.
    """

    limit: int
    left: int
    wait_s: float

    def headers(self) -> Mapping[str, str]:
        """Return ``RateLimit-Policy``, ``RateLimit`` and, refused, ``Retry-After``.

        Source: draft-ietf-httpapi-ratelimit-headers-11.
        """
        if not self.limit:
            return {}
        refill_s = math.ceil((self.limit - self.left) * 60 / self.limit)
        told = {
            "RateLimit-Policy": f'"caller";q={self.limit};w=60',
            "RateLimit": f'"caller";r={self.left};t={refill_s}',
        }
        if self.wait_s > 0:
            told["Retry-After"] = str(math.ceil(self.wait_s))
        return told


def take(caller: str, *, user_id: str = "") -> Grant:
    """Count one request of a caller, and of the user whom the caller asks for.

    Args:
        caller: an id, never an address: many may share one, and one may have many.
        user_id: what the caller says; it is kept as a fingerprint only.

    Returns:
        the grant that lets through least.
    """
    grants = [_take(caller, settings.OCTOLLM_REFLEX_RATE_PER_MINUTE)]
    per_user = settings.OCTOLLM_REFLEX_USER_RATE_PER_MINUTE
    if user_id and per_user > 0:
        user = fingerprint([caller, user_id], purpose="reflex-user")
        grants.append(_take(user, per_user))
    limited = [grant for grant in grants if grant.limit]
    return min(limited, key=lambda g: (-g.wait_s, g.left), default=grants[0])


def _take(scope: str, limit: int) -> Grant:
    if limit <= 0:
        return Grant(limit=0, left=0, wait_s=0.0)
    if settings.REDIS_URL:
        level = rates.take_and_tell(f"reflex:{scope}", 1, per_minute=limit)
    else:
        level = _own.take(scope, limit)
    return Grant(limit=limit, left=max(0, int(level.left)), wait_s=level.wait_s)


class _Own:
    """Buckets of this process alone, each of a minute's worth that fills evenly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, caller: str, limit: int) -> rates.Level:
        now = time.monotonic()
        with self._lock:
            left, at = self._levels.pop(caller, (float(limit), now))
            left = min(float(limit), left + (now - at) * limit / 60)
            wait_s = 0.0 if left >= 1 else (1 - left) * 60 / limit
            left -= wait_s == 0
            self._levels[caller] = left, now
            if len(self._levels) > _MAX_CALLERS:
                self._levels.popitem(last=False)
        return rates.Level(wait_s=wait_s, left=left)


_own = _Own()
