"""What is known of how arms are: found by self-checks, probes and failed calls.

One statement turns a finding into an instance's state, whoever found it, so that two
leaders, or a probe and a call at once, do no harm. It takes several findings in a row
to change much: ``OCTOLLM_PROBE_RISE`` good ones to be well, ``OCTOLLM_PROBE_FALL`` bad
ones to be down. What an operator wants (draining, disabled) no finding changes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error, InterfaceError, OperationalError, connection

from arms.contract import Health
from arms.registry import IN_PROCESS, get_arm, local_catalogue
from arms.registry_models import ArmInstance, HealthCheck
from octollm.resilience import breakers

logger = logging.getLogger(__name__)

# A self-check is real work; answers this old are good enough for a reader.
FRESH_S = 10.0
MAX_DETAIL = 300
# How much a new measurement counts in the average of latencies.
_NEW_SHARE = 0.3

_checked: dict[str, tuple[float, datetime, Health]] = {}
# One per arm: an arm elsewhere that says nothing holds up no other.
_locks: dict[str, threading.Lock] = {}

# Locked first: the state before tells whether it came back.
_NOTE = """
WITH before AS (
    SELECT id, state FROM arm_instances WHERE id = %(id)s FOR NO KEY UPDATE
)
UPDATE arm_instances i SET
    rises = CASE WHEN %(is_well)s THEN LEAST(i.rises + 1, %(rise)s) ELSE 0 END,
    falls = CASE WHEN %(is_well)s THEN 0 ELSE LEAST(i.falls + 1, %(fall)s) END,
    state = CASE
        WHEN i.state IN ('draining', 'disabled') THEN i.state
        WHEN %(is_well)s AND (i.state = 'healthy' OR i.rises + 1 >= %(rise)s)
            THEN %(good)s
        WHEN %(is_well)s THEN i.state
        WHEN i.falls + 1 >= %(fall)s THEN 'down'
        WHEN i.state = 'healthy' THEN 'degraded'
        ELSE i.state END,
    detail = %(detail)s,
    latency_ms = CASE WHEN %(latency_ms)s::float8 IS NULL THEN i.latency_ms
        ELSE COALESCE(i.latency_ms * %(kept)s::float8, 0)
            + %(latency_ms)s::float8
            * (CASE WHEN i.latency_ms IS NULL THEN 1 ELSE %(new)s::float8 END) END,
    checked_at = CASE WHEN %(is_check)s THEN clock_timestamp() ELSE i.checked_at END
FROM before WHERE i.id = before.id
RETURNING i.arm_id, before.state, i.state
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
            health = get_arm(name).check()
        except (InterfaceError, OperationalError):
            # The database is away, which says nothing of the arm.
            logger.warning("an arm could not be checked: the database is away")
            continue
        except Exception:
            logger.exception("an arm's self-check failed")
            health = _RAISED
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
            detail=found.detail[:MAX_DETAIL],
        )
    _tell(instance_id, *row)


def note_failure(instance_id: UUID, detail: str) -> None:
    """Count a call that failed by the instance's making; never raises."""
    found = Finding(is_well=False, detail=detail)
    try:
        note(instance_id, found, source=HealthCheck.Source.CALL)
    except Error as error:
        logger.warning("a failed call was not noted: %s", type(error).__name__)


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
        "detail": found.detail[:MAX_DETAIL],
        "latency_ms": found.latency_ms,
        "new": _NEW_SHARE,
        "kept": 1 - _NEW_SHARE,
        "is_check": source != HealthCheck.Source.CALL,
    }


def _tell(instance_id: UUID, arm: str, before: str, now: str) -> None:
    """Log a change; let calls go again where the instance is back."""
    if before == now:
        return
    is_worse = now in (ArmInstance.State.DOWN, ArmInstance.State.DEGRADED)
    level = logging.WARNING if is_worse else logging.INFO
    logger.log(level, "an instance of the arm %s is %s", arm, now)
    if before == ArmInstance.State.DOWN:
        breakers.may_probe(f"arm:{arm}:{instance_id}")


_RAISED = Health(is_healthy=False, detail="The self-check raised an error.")


def _self_check(name: str) -> Health:
    try:
        return get_arm(name).check()
    except Exception:
        # A broken arm must not break the page that asks.
        logger.exception("an arm's self-check failed")
        return _RAISED
