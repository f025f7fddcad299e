"""What an operator does to an owner: make, cap, limit, stop, let go on.

How many steps an owner may have running is a number of slots of its scope.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth.models import AbstractBaseUser
from django.db import transaction
from django.db.models.functions import Now

from octollm.access.models import MAX_RUNNING, Owner
from octollm.errors import OwnerStoppedError
from octollm.resilience import slots, switches

# As much as the column holds with six places.
MAX_CAP_USD = Decimal(999_999)

# SQL of the ids of the owners of whom nothing may start: stopped, or at their limit.
# Of a limit that is reached at least one slot is held, and those are few.
BLOCKED = f"""
SELECT id FROM owners WHERE stopped_at IS NOT NULL
UNION ALL
SELECT substr(held.scope, {len(switches.OWNER_PREFIX) + 1})::uuid FROM slots held
WHERE held.holder IS NOT NULL AND starts_with(held.scope, '{switches.OWNER_PREFIX}')
AND NOT EXISTS (
    SELECT 1 FROM slots free WHERE free.scope = held.scope AND free.holder IS NULL
)
"""  # noqa: S608  # our own names


def scope_of(owner_id: UUID) -> str:
    """Return the scope of an owner's slots, which is its switch's name, too."""
    return f"{switches.OWNER_PREFIX}{owner_id}"


def make(*, name: str, user: AbstractBaseUser | None = None) -> Owner:
    """Return the owner of that name, or of that account; made when there is none."""
    sought: dict[str, Any] = {"user_id": user.pk} if user else {"name": name}
    values = {"name": name, "max_running": usual_limit()}
    with transaction.atomic():
        owner, is_new = Owner.objects.get_or_create(**sought, defaults=values)
        if is_new:
            follow_limit(owner)
    return owner


def usual_limit() -> int | None:
    """Return how many steps a new owner may have running; nothing: no limit."""
    return max(0, min(settings.OCTOLLM_OWNER_MAX_RUNNING, MAX_RUNNING)) or None


def set_cap(name: str, usd: Decimal | None) -> None:
    """Set an owner's cap for each month in dollars, or lift it.

    Raises:
        ValueError: there is no such owner, or the cap is no such amount.
    """
    if usd is not None and not (usd.is_finite() and 0 <= usd <= MAX_CAP_USD):
        raise ValueError(f"a cap must be from 0 to {MAX_CAP_USD} USD")
    if not Owner.objects.filter(name=name).update(monthly_cap_usd=usd):
        raise ValueError("no such owner")


def limit(owner: Owner, count: int | None) -> None:
    """Let so many of the owner's steps run at once, or any number.

    Raises:
        ValueError: the count is out of range.
    """
    if count is not None and not 1 <= count <= MAX_RUNNING:
        raise ValueError(f"a limit is a number from 1 to {MAX_RUNNING}, or none")
    with transaction.atomic():
        owner.max_running = count
        owner.save(update_fields=["max_running"])
        follow_limit(owner)


def follow_limit(owner: Owner) -> None:
    """Make the owner's slots as many as its row says."""
    slots.resize(scope_of(owner.pk), owner.max_running)


def stop(owner: Owner, *, by: str, reason: str = "", is_now: bool = False) -> int:
    """Start nothing of the owner's and refuse its submissions; others go on.

    What runs ends, unless it is to be given back at once; returns how much was.
    """
    with transaction.atomic():
        Owner.objects.filter(pk=owner.pk, stopped_at=None).update(stopped_at=Now())
        switch = switches.note_on(
            scope_of(owner.pk), by=by, reason=reason, is_now=is_now
        )
    return switches.follow(switch)


def start(owner: Owner, *, by: str) -> bool:
    """Let a stopped owner go on; false when it was not stopped."""
    with transaction.atomic():
        Owner.objects.filter(pk=owner.pk).update(stopped_at=None)
        switch = switches.note_off(scope_of(owner.pk), by=by)
    if switch is not None:
        switches.follow(switch)
    return switch is not None


def require_started(owner: Owner) -> None:
    """Refuse what an owner asks for who is stopped.

    Raises:
        OwnerStoppedError: an operator has stopped it.
    """
    if owner.stopped_at is not None:
        raise OwnerStoppedError
