"""What is known of how arms are: found by self-checks, probes and failed calls.

One statement turns a finding into an instance's state, whoever found it, so that two
leaders, or a probe and a call at once, do no harm. It takes several findings in a row
to change much: ``OCTOLLM_PROBE_RISE`` good ones to be well, ``OCTOLLM_PROBE_FALL`` bad
ones to be down. What an operator wants (draining, disabled) no finding changes.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection

from arms import registration
from arms.contract import Health
from arms.registry import IN_PROCESS, Instance, get_arm, local_catalogue
from arms.registry_models import ArmInstance, HealthCheck
from octollm.resilience import breakers

logger = logging.getLogger(__name__)

# A self-check is real work; answers this old are good enough for a reader.
FRESH_S = 10.0
MAX_DETAIL = 300
# How much a new measurement counts in the average of latencies.
_NEW_SHARE = 0.3
# One that begins to be well again is looked at again after this.
SOON_S = 1.0
# So often a process at most writes that a degraded instance answers.
CALM_S = 1.0

_checked: dict[str, tuple[float, datetime, Health]] = {}
# One per arm: an arm elsewhere that says nothing holds up no other.
_locks: dict[str, threading.Lock] = {}
# Instances whose last call here failed, and when it was last written that one answered.
_failed: set[UUID] = set()
_calmed_at: dict[UUID, float] = {}

# Locked first: the state before tells whether it came back.
_NOTE = """
WITH before AS (
    SELECT id, state, rises, falls FROM arm_instances
    WHERE id = %(id)s FOR NO KEY UPDATE
), after AS (
    SELECT id, state AS was, CASE
        WHEN state IN ('draining', 'disabled') THEN state
        WHEN %(is_well)s AND (state = 'healthy' OR rises + 1 >= %(rise)s) THEN %(good)s
        WHEN %(is_well)s THEN state
        WHEN falls + 1 >= %(fall)s THEN 'down'
        WHEN state = 'healthy' THEN 'degraded'
        ELSE state END AS state
    FROM before
)
UPDATE arm_instances i SET
    rises = CASE WHEN %(is_well)s THEN LEAST(i.rises + 1, %(rise)s) ELSE 0 END,
    falls = CASE WHEN %(is_well)s THEN 0 ELSE LEAST(i.falls + 1, %(fall)s) END,
    state = after.state,
    since = CASE WHEN after.state = i.state THEN i.since ELSE clock_timestamp() END,
    detail = CASE WHEN i.state IN ('draining', 'disabled') THEN i.detail
        ELSE %(detail)s END,
    latency_ms = CASE WHEN %(latency_ms)s::float8 IS NULL THEN i.latency_ms
        ELSE COALESCE(i.latency_ms * %(kept)s::float8, 0)
            + %(latency_ms)s::float8
            * (CASE WHEN i.latency_ms IS NULL THEN 1 ELSE %(new)s::float8 END) END,
    checked_at = CASE WHEN %(is_check)s THEN clock_timestamp() ELSE i.checked_at END,
    probe_at = CASE WHEN %(is_check)s AND %(is_well)s AND i.rises + 1 < %(rise)s
        THEN LEAST(i.probe_at, clock_timestamp() + make_interval(secs => %(soon_s)s))
        ELSE i.probe_at END
FROM after WHERE i.id = after.id
RETURNING i.arm_id, after.was, i.state
"""
# What probes find wrong no call makes good: the last one of them was well.
_CALM = """
UPDATE arm_instances SET falls = 0
WHERE id = %(id)s AND falls > 0 AND state IN ('healthy', 'degraded')
  AND COALESCE((
    SELECT is_healthy FROM health_checks
    WHERE instance_id = %(id)s AND source = 'probe' ORDER BY at DESC LIMIT 1), true)
"""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a look at an instance told.

    Attributes:
        is_degraded: it is well enough to be asked, by its own words only just.
        detail: why it is not well; empty when it is.
        latency_ms: how long its answer took; nothing if none came.
    """

    is_well: bool
    is_degraded: bool = False
    detail: str = ""
    latency_ms: float | None = None


def check(name: str) -> tuple[Health, datetime]:
    """Return how an arm is, and when it was last checked (aware UTC)."""
    with _locks.setdefault(name, threading.Lock()):
        known = _checked.get(name)
        if known is not None and time.monotonic() - known[0] < FRESH_S:
            return known[2], known[1]
        health, now = _self_check(name), datetime.now(UTC)
        _checked[name] = (time.monotonic(), now, health)
        return health, now


def check_arms(names: Iterable[str] | None = None) -> None:
    """Check arms of this process, all by default, and note what was found."""
    wanted = {spec.name for spec in local_catalogue()} if names is None else set(names)
    rows = ArmInstance.objects.filter(arm_id__in=wanted, location=IN_PROCESS)
    for pk, name in rows.values_list("pk", "arm_id"):
        began = time.monotonic()
        try:
            health = _self_check(name)
        except (InterfaceError, OperationalError):
            # The database is away, which says nothing of the arm.
            logger.warning("an arm could not be checked: the database is away")
            continue
        took_ms = (time.monotonic() - began) * 1000
        found = Finding(
            is_well=health.is_healthy, detail=health.detail, latency_ms=took_ms
        )
        note(pk, found, source=HealthCheck.Source.SELF_CHECK)


def note(instance_id: UUID, found: Finding, *, source: HealthCheck.Source) -> None:
    """Note a finding at its instance, and keep it for the history."""
    # A calm instance in process is in its row; its history would be one of writes.
    is_row = source != HealthCheck.Source.SELF_CHECK or not found.is_well
    with connection.cursor() as cursor:
        cursor.execute(_NOTE, _values(instance_id, found, source))
        row = cursor.fetchone()
    if row is None:
        return
    if is_row:
        HealthCheck.objects.create(
            instance_id=instance_id,
            source=source,
            is_healthy=found.is_well,
            latency_ms=found.latency_ms,
            detail=_shown(found.detail),
        )
    _tell(instance_id, *row)


def note_failure(instance_id: UUID, detail: str) -> None:
    """Count a call that failed by the instance's making; never raises."""
    _failed.add(instance_id)
    found = Finding(is_well=False, detail=detail)
    try:
        note(instance_id, found, source=HealthCheck.Source.CALL)
    except Error as error:
        logger.warning("a failed call was not noted: %s", type(error).__name__)


def note_success(instance: Instance) -> None:
    """Let failed calls before this one count no more; never raises.

    Writes only where a call may have failed: three failures among thousands of
    successes take nobody down.
    """
    if instance.id in _failed:
        _failed.discard(instance.id)
    elif instance.state != ArmInstance.State.DEGRADED or not _is_calm_due(instance.id):
        return
    try:
        with connection.cursor() as cursor:
            cursor.execute(_CALM, {"id": instance.id})
    except Error as error:
        logger.warning("a good call was not noted: %s", type(error).__name__)


def _is_calm_due(instance_id: UUID) -> bool:
    now = time.monotonic()
    if now - _calmed_at.get(instance_id, -math.inf) < CALM_S:
        return False
    _calmed_at[instance_id] = now
    return True


def _values(
    instance_id: UUID, found: Finding, source: HealthCheck.Source
) -> dict[str, Any]:
    state = ArmInstance.State
    return {
        "id": instance_id,
        "is_well": found.is_well,
        "good": state.DEGRADED if found.is_degraded else state.HEALTHY,
        "rise": settings.OCTOLLM_PROBE_RISE,
        "fall": settings.OCTOLLM_PROBE_FALL,
        "detail": _shown(found.detail),
        "soon_s": SOON_S,
        "latency_ms": found.latency_ms,
        "new": _NEW_SHARE,
        "kept": 1 - _NEW_SHARE,
        "is_check": source != HealthCheck.Source.CALL,
    }


def _shown(detail: str) -> str:
    """Return what can be stored and shown of words that an arm may have chosen."""
    cut = detail[:MAX_DETAIL]
    return "".join(
        sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in cut
    )


def _tell(instance_id: UUID, arm: str, before: str, now: str) -> None:
    """Log a change; let calls go again where the instance is back."""
    if before == now:
        return
    is_worse = now in (ArmInstance.State.DOWN, ArmInstance.State.DEGRADED)
    level = logging.WARNING if is_worse else logging.INFO
    logger.log(level, "an instance of the arm %s is %s", arm, now)
    if before == ArmInstance.State.DOWN:
        breakers.may_probe(registration.breaker_of(arm, instance_id))


def _self_check(name: str) -> Health:
    """Return how an arm finds itself; a database that is away is no finding."""
    try:
        return get_arm(name).check()
    except (InterfaceError, OperationalError):
        raise
    except Exception:
        # A broken arm must not break the page or the loop that asks.
        logger.exception("an arm's self-check failed")
        return Health(is_healthy=False, detail="The self-check raised an error.")
