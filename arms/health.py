"""Whether arms are well: a self-check or a probe, kept for the admin and the API."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import asdict
from datetime import UTC, datetime

from django.db.models.functions import Now

from arms.contract import ArmSpec, Health
from arms.registry import get_arm, local_catalogue
from arms.registry_models import ArmInstance, RegisteredArm
from octollm.types import JSONObject, JSONValue

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


def register_arms() -> None:
    """Write the arms of this process to the registry's tables."""
    for spec in local_catalogue():
        RegisteredArm.objects.update_or_create(
            name=spec.name, defaults={**describe(spec), "updated_at": Now()}
        )
        ArmInstance.objects.get_or_create(arm_id=spec.name)


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


def describe(spec: ArmSpec) -> JSONObject:
    """Return a catalogue entry as JSON, without its name."""
    return {
        "version": spec.version,
        "description": spec.description,
        "capabilities": [
            asdict(capability) | {"cost_usd": str(capability.cost_usd)}
            for capability in spec.capabilities
        ],
        "sees": list[JSONValue](sorted(spec.sees)),
        "is_repeatable": spec.is_repeatable,
        "has_store": spec.has_store,
        "synonyms": list[JSONValue](spec.synonyms),
        "queue": spec.queue,
    }


def _self_check(name: str) -> Health:
    try:
        return get_arm(name).check()
    except Exception:
        # A broken arm must not break the page or the loop that asks.
        logger.exception("an arm's self-check failed")
        return Health(is_healthy=False, detail="The self-check raised an error.")
