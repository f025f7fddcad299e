"""What an operator does to arms and their instances, in the admin or by a command.

Every process reads the registry each second, so each act holds everywhere within two.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from arms import registration, remote
from arms.providers import plain_key
from arms.registry_models import (
    MAX_CONCURRENCY,
    MAX_WEIGHT,
    NOBODY,
    ArmInstance,
    RegisteredArm,
)
from octollm.resilience import breakers

logger = logging.getLogger(__name__)

State = ArmInstance.State
SET_ASIDE = (State.DRAINING, State.DISABLED)
_WHY = {
    State.DRAINING: "An operator drains it.",
    State.DISABLED: "An operator disabled it.",
}


def drain(instance_id: UUID, *, by: str, reason: str = "") -> bool:
    """Give an instance nothing new; it answers for what it has. Say whether it is new."""
    return _set_aside(instance_id, State.DRAINING, by=by, reason=reason)


def disable(instance_id: UUID, *, by: str, reason: str = "") -> bool:
    """Leave an instance alone, also with what it does now; say whether that is new."""
    return _set_aside(instance_id, State.DISABLED, by=by, reason=reason)


def enable(instance_id: UUID, *, by: str, reason: str = "") -> bool:
    """Let one that was set aside be probed at once, as a new one; say whether it was."""
    set_aside = ArmInstance.objects.filter(pk=instance_id, state__in=SET_ASIDE)
    is_changed = set_aside.update(
        state=State.STARTING,
        since=Now(),
        detail="",
        rises=0,
        falls=0,
        drains_itself=False,
        probe_at=Now(),
    )
    _log("enabled", instance_id, by=by, reason=reason, is_changed=bool(is_changed))
    return bool(is_changed)


def close_breaker(instance_id: UUID, *, by: str, reason: str = "") -> bool:
    """Let callers ask an instance again; say whether they did not."""
    arm = ArmInstance.objects.filter(pk=instance_id).values_list("arm_id", flat=True)
    name = arm.first()
    if name is None:
        return False
    is_changed = breakers.reset(registration.breaker_of(name, instance_id))
    _log("asked again", instance_id, by=by, reason=reason, is_changed=is_changed)
    return is_changed


def reweigh(instance_id: UUID, weight: int, *, by: str) -> bool:
    """Set an instance's share of the calls; say whether it is there.

    Raises:
        ValueError: the weight is out of range.
    """
    if not 1 <= weight <= MAX_WEIGHT:
        raise ValueError(f"a weight is a number from 1 to {MAX_WEIGHT}")
    is_there = ArmInstance.objects.filter(pk=instance_id).update(weight=weight)
    _log("weighted", instance_id, by=by, reason=str(weight), is_changed=bool(is_there))
    return bool(is_there)


def set_token(instance_id: UUID, token: str, *, by: str) -> bool:
    """Keep what callers of an instance must show; say whether it is there.

    Raises:
        ValueError: it cannot stand in a header.
    """
    stored = registration.encrypted(plain_key(token))
    is_there = ArmInstance.objects.filter(pk=instance_id).update(token=stored)
    _log("given a token", instance_id, by=by, reason="", is_changed=bool(is_there))
    return bool(is_there)


def set_limit(arm: str, limit: int | None, *, by: str) -> None:
    """Let each instance of an arm take so many steps at once; nothing: as it says.

    Raises:
        ValueError: the limit is out of range.
    """
    if limit is not None and not 1 <= limit <= MAX_CONCURRENCY:
        raise ValueError(f"a limit is a number from 1 to {MAX_CONCURRENCY}, or none")
    with transaction.atomic():
        RegisteredArm.objects.filter(pk=arm).update(limit=limit)
        registration.resize(arm)
    logger.warning("an arm has another limit: %s %s by %s", arm, limit, by)


def set_stand_in(arm: str, name: str, *, by: str) -> None:
    """Let another arm be taken while this one is away.

    Empty: the one that the arm names itself; ``NOBODY``: none.

    Raises:
        ValueError: there is no such other arm.
    """
    others = RegisteredArm.objects.exclude(pk=arm)
    if name not in ("", NOBODY) and not others.filter(pk=name).exists():
        raise ValueError(f"there is no other arm {name}")
    RegisteredArm.objects.filter(pk=arm).update(stand_in=name)
    logger.warning("an arm has another fallback: %s %s by %s", arm, name, by)


def set_may_see(arm: str, types: Iterable[str], *, by: str) -> None:
    """Let an arm elsewhere have these types of personal data in plain text.

    Raises:
        ValueError: it does not ask for one of them, or the settings decide.
    """
    if remote.is_named(arm):
        raise ValueError("OCTOLLM_REMOTE_ARMS says what the arm may see")
    wanted = sorted(set(types))
    row = RegisteredArm.objects.get(pk=arm)
    if not_asked := sorted(set(wanted) - set(row.sees)):
        raise ValueError(f"the arm does not ask for {', '.join(not_asked)}")
    # The moment is what tells processes to read the arm's entry again.
    RegisteredArm.objects.filter(pk=arm).update(may_see=wanted, updated_at=Now())
    logger.warning("an arm may see other types: %s %s by %s", arm, wanted, by)


def _set_aside(
    instance_id: UUID, state: ArmInstance.State, *, by: str, reason: str
) -> bool:
    # One that drains by its own word would come back by it.
    others = ArmInstance.objects.filter(pk=instance_id).exclude(
        state=state, drains_itself=False
    )
    is_changed = bool(
        others.update(state=state, since=Now(), detail=_WHY[state], drains_itself=False)
    )
    _log(state.value, instance_id, by=by, reason=reason, is_changed=is_changed)
    return is_changed


def _log(
    act: str, instance_id: UUID, *, by: str, reason: str, is_changed: bool
) -> None:
    if is_changed:
        logger.warning(
            "an operator changed an instance: %s %s by %s: %s",
            *(instance_id, act, by, reason),
        )
