"""Whether arms are well: a self-check or a probe, kept for the admin and the API."""

from __future__ import annotations

import logging
import threading
import time
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import F

from arms.contract import Health
from arms.registry import get_arm, local_catalogue
from arms.registry_models import ArmInstance

logger = logging.getLogger(__name__)

# A self-check is real work; answers this old are good enough for a reader.
FRESH_S = 10.0
_checked: dict[str, tuple[float, datetime, Health]] = {}
# One per arm: an arm elsewhere that says nothing holds up no other.
_locks: dict[str, threading.Lock] = {}


def check(name: str) -> tuple[Health, datetime]:
    """Return how an arm is, and when it was last checked (aware UTC)."""
    with _locks.setdefault(name, threading.Lock()):
        known = _checked.get(name)
        if known is not None and time.monotonic() - known[0] < FRESH_S:
            return known[2], known[1]
        health, now = _self_check(name), datetime.now(UTC)
        _checked[name] = (time.monotonic(), now, health)
        return health, now


def check_arms() -> None:
    """Check every in-process arm and keep the outcome in its row."""
    for spec in local_catalogue():
        health, checked_at = check(spec.name)
        state = ArmInstance.State
        ArmInstance.objects.filter(arm_id=spec.name, location="in-process").update(
            state=state.HEALTHY if health.is_healthy else state.DOWN,
            detail=health.detail,
            checked_at=checked_at,
        )


def _self_check(name: str) -> Health:
    try:
        return get_arm(name).check()
    except Exception:
        # A broken arm must not break the page or the loop that asks.
        logger.exception("an arm's self-check failed")
        return Health(is_healthy=False, detail="The self-check raised an error.")


def note_failure(instance_id: UUID, detail: str) -> None:
    """Count a call that failed by the instance's making."""
    ArmInstance.objects.filter(pk=instance_id).update(falls=F("falls") + 1)


def note_success(instance_id: UUID) -> None:
    """Tell that a call was answered."""
