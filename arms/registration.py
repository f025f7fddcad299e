"""Who is in the registry: arms in process, those of the settings, those who announce.

Only here rows of arms and their instances are made, and their places resized. What
is found out about them is written by ``health.py``.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.fernet import InvalidToken
from django.db import transaction
from django.db.models import Q
from django.db.models.functions import Now

from arms.contract import ArmSpec
from arms.entries import Entry, describe
from arms.registry_models import ArmInstance, RegisteredArm
from octollm.errors import VaultError
from octollm.resilience import slots
from octollm.resilience.models import Breaker
from octollm.types import JSONObject
from reflex.vault import settings_fernet

logger = logging.getLogger(__name__)

Source, State = ArmInstance.Source, ArmInstance.State


@dataclass(frozen=True, kw_only=True)
class Announcement:
    """What an instance, a setting or an operator says of a place.

    Attributes:
        token: what a caller must show; empty: nothing, or what the settings say.
        weight: nothing leaves what is there.
    """

    arm: str
    url: str
    source: ArmInstance.Source
    token: str = field(default="", repr=False)
    weight: int | None = None


def scope_of(instance_id: UUID) -> str:
    """Return the scope of an instance's slots."""
    return f"arm:{instance_id}"


def breaker_of(arm: str, instance_id: UUID) -> str:
    """Return the name of an instance's breaker."""
    return f"arm:{arm}:{instance_id}"


def announce(announcement: Announcement) -> ArmInstance:
    """Enter an instance, or renew what is known of it; it is probed at once if new.

    One that had left or that an operator drained comes back with its next life only
    as far as it may: what an operator disabled or drained stays so.
    """
    is_announced = announcement.source == Source.ANNOUNCED
    told = {
        "source": announcement.source,
        **({"heartbeat_at": Now()} if is_announced else {}),
        **({"weight": announcement.weight} if announcement.weight else {}),
    }
    with transaction.atomic():
        RegisteredArm.objects.get_or_create(name=announcement.arm)
        instance, is_new = ArmInstance.objects.get_or_create(
            arm_id=announcement.arm, location=announcement.url, defaults=told
        )
        if is_new or _is_other(instance.token, announcement.token):
            told["token"] = encrypted(announcement.token)
        ArmInstance.objects.filter(pk=instance.pk).update(**told)
    if is_new:
        logger.info("an instance of an arm is new: %s", announcement.arm)
        resize(announcement.arm, only=instance.pk)
    instance.refresh_from_db()
    return instance


def leave(instance_id: UUID) -> bool:
    """Take an instance out that is gone for good; say whether it was there."""
    with transaction.atomic():
        deleted, _ = ArmInstance.objects.filter(pk=instance_id).delete()
        # Whatever the arm is called: the id is in its breaker's name.
        Breaker.objects.filter(
            name__startswith="arm:", name__endswith=f":{instance_id}"
        ).delete()
    slots.resize(scope_of(instance_id), None)
    return bool(deleted)


def write_local(specs: Iterable[ArmSpec]) -> None:
    """Enter the arms of this process."""
    for spec in specs:
        _write(spec.name, describe(spec))
        ArmInstance.objects.get_or_create(arm_id=spec.name, location="in-process")
        resize(spec.name)


def write_entry(instance: ArmInstance, entry: Entry) -> bool:
    """Note what an instance says of itself; say whether that is new.

    The arm's row follows the instance that changed last, so that of two versions side
    by side the newer one counts and rows do not go back and forth.
    """
    described = entry.model_dump(mode="json", exclude={"name"})
    text = entry.model_dump_json()
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    if digest == instance.entry_hash:
        return False
    with transaction.atomic():
        is_changed = _write(entry.name, described)
        ArmInstance.objects.filter(pk=instance.pk).update(
            entry_hash=digest, version=entry.version
        )
    if is_changed:
        resize(entry.name)
    return True


def name_places(named: Iterable[Announcement], *, sees: dict[str, list[str]]) -> None:
    """Enter the places that the settings name, and take out those they name no more."""
    listed = {(each.arm, each.url): each for each in named}
    known = ArmInstance.objects.filter(source=Source.SETTINGS)
    present = set(known.values_list("arm_id", "location"))
    for place, announcement in listed.items():
        if place not in present:
            announce(announcement)
    for instance in known:
        if (instance.arm_id, instance.location) not in listed:
            leave(instance.pk)
    for arm, types in sees.items():
        RegisteredArm.objects.filter(~Q(may_see=types), name=arm).update(
            may_see=types, updated_at=Now()
        )


def resize(arm: str, *, only: UUID | None = None) -> None:
    """Give each instance of an arm, or only one, as many places as it takes steps."""
    row = RegisteredArm.objects.filter(pk=arm).first()
    if row is None:
        return
    instances = row.instances.filter(pk=only) if only else row.instances.all()
    for pk in instances.values_list("pk", flat=True):
        slots.resize(scope_of(pk), row.places)


def encrypted(token: str) -> str:
    """Return what is stored of a token."""
    return settings_fernet().encrypt(token.encode()).decode() if token else ""


def decrypted(stored: str) -> str:
    """Return the token of what is stored.

    Raises:
        VaultError: it was stored under a key that the settings do not hold.
    """
    if not stored:
        return ""
    try:
        return settings_fernet().decrypt(stored).decode()
    except InvalidToken:
        raise VaultError(
            "An instance's token was stored under a key that is not in "
            "OCTOLLM_VAULT_KEYS."
        ) from None


def _is_other(stored: str, token: str) -> bool:
    try:
        return decrypted(stored) != token
    except VaultError:
        return True


def _write(name: str, described: JSONObject) -> bool:
    """Write an arm's entry if it says something new; say whether it did."""
    row, is_new = RegisteredArm.objects.get_or_create(name=name, defaults=described)
    if is_new or any(getattr(row, key) != value for key, value in described.items()):
        RegisteredArm.objects.filter(pk=name).update(**described, updated_at=Now())
        return True
    return False
