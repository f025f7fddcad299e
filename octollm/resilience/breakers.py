"""Whether something outside may be asked, agreed among all processes.

A breaker is a row: it survives restarts, and no process opens one by
itself. It is written on failure and on change only, always by one conditional
statement on the database's clock, and read through a cache of one second. Callers
hold no transaction: a failing statement would spoil it, and a row locked in it would
hold up every process.

``closed`` → (5 failures in a minute) → ``open`` → (a minute later, one caller of all)
→ ``half_open`` → ``closed`` or ``open`` again, by how that caller fared.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from random import SystemRandom
from typing import Any

from django.conf import settings
from django.db import Error, connection
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from octollm.resilience.models import Breaker

logger = logging.getLogger(__name__)

# So many failures within a window, which the first of them begins, open a breaker.
FAILURES = 5
WINDOW_S = 60.0
# What failed together is not probed together: a tenth more or less.
JITTER = 0.1
# A probe that told nothing by then is given up, and another caller may probe.
PROBE_S = 30.0
# The longest that the other side's wish to be left alone is heeded.
MAX_HOLD_OFF_S = 600.0
# What another process wrote is seen within this time.
CACHE_S = 1.0

_random = SystemRandom()


@dataclass(frozen=True, kw_only=True)
class Permit:
    """Whether one call may be made now.

    Attributes:
        is_probe: the caller is the one that finds out; it must tell how it went.
        wait_s: seconds until it may be asked again, 0.0 when allowed.
    """

    is_allowed: bool
    is_probe: bool = False
    wait_s: float = 0.0


_ALLOWED = Permit(is_allowed=True)

_READ = """
SELECT name, state, failures,
       extract(epoch FROM open_until - clock_timestamp())::float8,
       extract(epoch FROM retry_at - clock_timestamp())::float8
FROM breakers
WHERE state <> 'closed' OR failures > 0 OR retry_at > clock_timestamp()
"""
_PROBE = """
UPDATE breakers SET state = 'half_open', updated_at = clock_timestamp(),
       open_until = clock_timestamp() + make_interval(secs => %(probe_s)s)
WHERE name = %(name)s AND state IN ('open', 'half_open')
      AND open_until <= clock_timestamp()
      AND (retry_at IS NULL OR retry_at <= clock_timestamp())
"""
_COUNT = """
INSERT INTO breakers (name, state, failures, window_until, updated_at)
VALUES (%(name)s, 'closed', 1,
        clock_timestamp() + make_interval(secs => %(window_s)s), clock_timestamp())
ON CONFLICT (name) DO UPDATE SET
    failures = CASE WHEN breakers.window_until > clock_timestamp()
                    THEN breakers.failures + 1 ELSE 1 END,
    window_until = CASE WHEN breakers.window_until > clock_timestamp()
                        THEN breakers.window_until ELSE excluded.window_until END,
    updated_at = clock_timestamp()
WHERE breakers.state = 'closed'
"""
_OPEN = """
UPDATE breakers SET state = 'open', failures = 0, window_until = NULL,
       open_until = clock_timestamp() + make_interval(secs => %(open_s)s),
       updated_at = clock_timestamp()
WHERE name = %(name)s
      AND (state = 'half_open' OR state = 'closed' AND failures >= %(limit)s)
"""
# Not an open one: such a success is of a call that was sent before it opened.
_CLOSE = """
UPDATE breakers SET state = 'closed', failures = 0, window_until = NULL,
       open_until = NULL, updated_at = clock_timestamp()
WHERE name = %(name)s AND (state = 'half_open' OR state = 'closed' AND failures > 0)
"""
_RESET = """
UPDATE breakers SET state = 'closed', failures = 0, window_until = NULL,
       open_until = NULL, retry_at = NULL, updated_at = clock_timestamp()
WHERE name = %(name)s
      AND (state <> 'closed' OR failures > 0 OR retry_at > clock_timestamp())
"""
_HAND_BACK = """
UPDATE breakers SET open_until = clock_timestamp(), updated_at = clock_timestamp()
WHERE name = %(name)s AND state = 'half_open'
"""
_MAY_PROBE = """
UPDATE breakers SET open_until = clock_timestamp(), updated_at = clock_timestamp()
WHERE name = %(name)s AND state = 'open' AND open_until > clock_timestamp()
"""
_HOLD_OFF = """
INSERT INTO breakers (name, state, failures, retry_at, updated_at)
VALUES (%(name)s, 'closed', 0,
        clock_timestamp() + make_interval(secs => %(hold_s)s), clock_timestamp())
ON CONFLICT (name) DO UPDATE SET updated_at = clock_timestamp(),
    retry_at = greatest(breakers.retry_at, excluded.retry_at)
"""


def ask(name: str) -> Permit:
    """Say whether ``name`` may be asked now; the database away, it may.

    An open breaker whose time is over gives one caller of all processes a probe.
    """
    row = _cache.row(name)
    wait_s = row.wait_s() if row else 0.0
    if wait_s > 0:
        return Permit(is_allowed=False, wait_s=wait_s)
    if row is None or row.state == Breaker.State.CLOSED:
        return _ALLOWED
    return _probe(name)


def wait_s(name: str) -> float:
    """Return the seconds until ``name`` may be asked, 0.0 if now; claims no probe."""
    row = _cache.row(name)
    return row.wait_s() if row else 0.0


def succeeded(name: str) -> None:
    """Tell that a call went well; writes only if there is something to change."""
    row = _cache.row(name)
    if row is None or (row.state == Breaker.State.CLOSED and not row.failures):
        return
    if _write(_CLOSE, name=name) and row.state != Breaker.State.CLOSED:
        logger.info("a breaker is closed: %s", name)


def failed(name: str) -> None:
    """Tell that a call failed by the other side's making, never by the caller's."""
    open_s = settings.OCTOLLM_BREAKER_OPEN_S * _random.uniform(1 - JITTER, 1 + JITTER)
    _write(_COUNT, name=name, window_s=WINDOW_S)
    # A second statement, so that the count it reads is of all processes.
    if _write(_OPEN, name=name, open_s=open_s, limit=FAILURES):
        logger.warning("a breaker is open: %s", name)


def hold_off(name: str, *, seconds: float) -> None:
    """Have everybody leave ``name`` alone, as the other side asked, say by a 429.

    Never shortens a longer wish; at most ``MAX_HOLD_OFF_S``.
    """
    if seconds > 0:
        _write(_HOLD_OFF, name=name, hold_s=min(seconds, MAX_HOLD_OFF_S))


def may_probe(name: str) -> None:
    """Tell that a check from aside found it well: the next caller may find out now."""
    _write(_MAY_PROBE, name=name)


def hand_back(name: str) -> None:
    """Tell that nobody was asked after all; if it was to be a probe, another may."""
    row = _cache.row(name)
    if row is not None and row.state != Breaker.State.CLOSED:
        _write(_HAND_BACK, name=name)


def reset(name: str) -> bool:
    """Let everybody ask again, as an operator wants; say whether that is new."""
    return bool(_write(_RESET, name=name))


def collect() -> Iterable[Metric]:
    """Return the states of all breakers: 1 for the present one, 0 for the others."""
    family = GaugeMetricFamily(
        "octollm_breaker_state",
        "Which state a breaker is in: closed, open or half_open.",
        labels=["name", "state"],
    )
    for name, present in Breaker.objects.values_list("name", "state"):
        for state in Breaker.State.values:
            family.add_metric([name, state], float(state == present))
    return [family]


@dataclass(frozen=True, kw_only=True)
class _Row:
    """A row that says something; moments are of this process's monotonic clock."""

    state: str
    failures: int
    open_until: float
    retry_at: float

    def wait_s(self) -> float:
        """Return the seconds until it may be asked, 0.0 when that is now."""
        now = time.monotonic()
        closed_for_s = self.open_until - now
        if self.state == Breaker.State.HALF_OPEN:
            # The probe may be back long before it would be given up.
            closed_for_s = min(closed_for_s, CACHE_S)
        return max(closed_for_s, self.retry_at - now, 0.0)


class _Cache:
    """The rows that say something, as they were a second ago at most."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._fresh_until = 0.0
        self._is_database_away = False

    def row(self, name: str) -> _Row | None:
        """Return what is known of a breaker; nothing means closed and calm."""
        if time.monotonic() >= self._fresh_until:
            with self._lock:
                if time.monotonic() >= self._fresh_until:
                    self._refresh()
        return self._rows.get(name)

    def forget(self) -> None:
        """Read anew at the next question, and not what is being read just now."""
        with self._lock:
            self._fresh_until = 0.0

    def note(self, error: Error | None) -> None:
        """Tell once that the database is away, and remember that it is back."""
        if error is not None and not self._is_database_away:
            logger.warning("breakers are not heeded: %s", type(error).__name__)
        self._is_database_away = error is not None

    def _refresh(self) -> None:
        try:
            with connection.cursor() as cursor:
                cursor.execute(_READ)
                now = time.monotonic()
                self._rows = {row[0]: _row(row[1:], now) for row in cursor.fetchall()}
            self.note(None)
        except Error as error:
            # What was known stays; each time in it runs out by itself.
            self.note(error)
        self._fresh_until = time.monotonic() + CACHE_S


def _row(values: tuple[Any, ...], now: float) -> _Row:
    state, failures, open_s, retry_s = values
    return _Row(
        state=state,
        failures=failures,
        open_until=now + (open_s or 0.0),
        retry_at=now + (retry_s or 0.0),
    )


_cache = _Cache()


def _forget_parent() -> None:
    # Another thread of the parent may have held the lock at the fork.
    global _cache
    _cache = _Cache()


os.register_at_fork(after_in_child=_forget_parent)


def _probe(name: str) -> Permit:
    changed = _write(_PROBE, name=name, probe_s=PROBE_S)
    if changed:
        logger.info("a breaker is probed: %s", name)
        return Permit(is_allowed=True, is_probe=True)
    # Somebody else was first, or the database is away.
    row = _cache.row(name)
    wait_s = row.wait_s() if row else 0.0
    return Permit(is_allowed=wait_s <= 0, wait_s=wait_s)


def _write(statement: str, **values: Any) -> int | None:
    """Return how many rows changed; nothing when the database is away."""
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement, values)
            changed: int = cursor.rowcount
    except Error as error:
        _cache.note(error)
        return None
    _cache.forget()
    return changed
