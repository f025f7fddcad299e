"""What was found in texts before: in this process, then in Redis.

The key is an HMAC of all that the findings depend on, and what is kept is where they
are, so neither place holds any of the text. Redis away means that nothing is known.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence

from django.conf import settings
from redis.exceptions import RedisError

from octollm import metrics
from octollm.resilience import redis_client
from reflex.decide import Checkpoint
from reflex.fingerprints import fingerprint
from reflex.found import Found
from reflex.rules import load_rules

logger = logging.getLogger(__name__)

_PREFIX = "octollm:reflex:"
# In this process; findings of a text take some hundred bytes.
MAX_ENTRIES = 4_096
# A text with more is looked at again: reading so many back takes as long.
MAX_FOUND = 500
_MAX_WAITING = 1_000

Findings = tuple[Found, ...]


def key_of(
    text: str, *, check_pii: bool, check_injection: bool, checkpoint: Checkpoint
) -> str:
    """Return the name under which the findings of a text are kept."""
    by = f"{load_rules().version}:{settings.OCTOLLM_REFLEX_DETECTOR}"
    asked = f"{by}:{checkpoint}:{check_pii:d}{check_injection:d}:"
    content = asked.encode() + text.encode("utf-8", "surrogatepass")
    return fingerprint(content, purpose="reflex-cache")


def look_up(key: str, *, length: int) -> Findings | None:
    """Return what is kept under a key for a text of that length, or nothing."""
    if settings.OCTOLLM_REFLEX_CACHE_TTL_S <= 0:
        return None
    found = _own.get(key)
    place = "process"
    if found is None:
        found, place = _read(key, length), "redis"
        if found is not None:
            _own.put(key, found)
    metrics.REFLEX_CACHE.labels("none" if found is None else place).inc()
    return found


def keep(key: str, found: Sequence[Found]) -> None:
    """Keep the findings of a text for ``OCTOLLM_REFLEX_CACHE_TTL_S``."""
    ttl_s = settings.OCTOLLM_REFLEX_CACHE_TTL_S
    if ttl_s <= 0 or len(found) > MAX_FOUND:
        return
    _own.put(key, tuple(found))
    if not settings.REDIS_URL:
        return
    rows = [
        [f.rule_id, f.family, f.type, f.severity, f.start, f.end, f.is_validated]
        for f in found
    ]
    _writer.put(_PREFIX + key, json.dumps(rows), max(1, int(ttl_s * 1000)))


def _read(key: str, length: int) -> Findings | None:
    try:
        return tuple(_found(row, length) for row in _rows(_kept(key)))
    except (RedisError, ValueError, TypeError):
        # Away, or not written by us; what is in the text is found anew.
        return None


def _rows(kept: str) -> list[object]:
    rows = json.loads(kept)
    if not isinstance(rows, list):
        raise TypeError
    return rows


def _kept(key: str) -> str:
    kept = redis_client.sparing().get(_PREFIX + key) if settings.REDIS_URL else None
    return kept if isinstance(kept, str) else "null"


def _found(row: object, length: int) -> Found:
    """Return one finding of a row that Redis gave.

    Raises:
        ValueError, TypeError: it is none.
    """
    if not isinstance(row, list):
        raise TypeError
    rule_id, family, value_type, severity, start, end, is_validated = row
    if not (isinstance(start, int) and isinstance(end, int)):
        raise TypeError
    if not 0 <= start < end <= length or severity not in ("low", "medium", "high"):
        raise ValueError
    return Found(
        rule_id=str(rule_id),
        family=str(family),
        type=str(value_type),
        severity=str(severity),
        start=start,
        end=end,
        is_validated=bool(is_validated),
    )


class _Own:
    """The layer in this process; the one unasked for longest goes first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, tuple[float, Findings]] = OrderedDict()

    def get(self, key: str) -> Findings | None:
        with self._lock:
            entry = self._entries.get(key)
            if entry is None:
                return None
            if entry[0] <= time.monotonic():
                del self._entries[key]
                return None
            self._entries.move_to_end(key)
            return entry[1]

    def put(self, key: str, found: Findings) -> None:
        until = time.monotonic() + settings.OCTOLLM_REFLEX_CACHE_TTL_S
        with self._lock:
            self._entries[key] = until, found
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)

    def clear(self) -> None:
        with self._lock:
            self._entries.clear()


_own = _Own()


class _Writer:
    """Writes to Redis in a thread of its own: nobody waits for it.

    What does not fit its queue, because Redis is slow, is not kept.
    """

    def __init__(self) -> None:
        self._waiting: queue.Queue[tuple[str, str, int]] = queue.Queue(_MAX_WAITING)
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, name: str, content: str, lifetime_ms: int) -> None:
        """Have it written soon."""
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._write_all, name="reflex-cache", daemon=True
                )
                self._thread.start()
        with contextlib.suppress(queue.Full):
            self._waiting.put_nowait((name, content, lifetime_ms))

    def settle(self) -> None:
        """Wait until all of it is written, or given up."""
        self._waiting.join()

    def _write_all(self) -> None:
        while True:
            name, content, lifetime_ms = self._waiting.get()
            try:
                redis_client.sparing().set(name, content, px=lifetime_ms)
            except RedisError:
                pass  # it is away, which the client has logged
            except Exception:
                logger.exception("what was found in a text was not kept")
            finally:
                self._waiting.task_done()


_writer = _Writer()


def _forget_parent() -> None:
    # A forked child has neither the thread nor what another one held.
    global _own, _writer
    _own, _writer = _Own(), _Writer()


os.register_at_fork(after_in_child=_forget_parent)
