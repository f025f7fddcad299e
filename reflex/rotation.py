"""Changing the settings' vault keys: wrapping every scope's key anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from uuid import UUID

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.db import transaction

from reflex.models import VaultKey
from reflex.vault import settings_fernet, settings_fernets

_BATCH = 500


@dataclass(kw_only=True)
class Tally:
    """How it went.

    Attributes:
        rotated: keys that are now wrapped by the first of the settings' keys.
        current: keys that were already.
        lost: scopes whose keys none of the settings' keys can unwrap.
    """

    rotated: int = 0
    current: int = 0
    lost: list[UUID] = field(default_factory=list)


def rotate() -> Tally:
    """Wrap the keys of all scopes by the first of ``OCTOLLM_VAULT_KEYS``.

    Values are not touched, and nothing has to stop for it: each key is locked for a
    moment and unwraps to the same as before. Keys that cannot be unwrapped stay.
    May be interrupted and run again.

    Raises:
        VaultError: the settings hold no key, or something that is none.
    """
    every, first = settings_fernet(), settings_fernets()[0]
    tally = Tally()
    for ids in _batches():
        with transaction.atomic():
            keys = VaultKey.objects.select_for_update().filter(pk__in=ids)
            changed = [key for key in keys if _rewrap(key, every, first, tally)]
            VaultKey.objects.bulk_update(changed, ["wrapped_key"])
    return tally


def check() -> Tally:
    """Say which keys can be unwrapped; changes nothing.

    Raises:
        VaultError: the settings hold no key, or something that is none.
    """
    every, first = settings_fernet(), settings_fernets()[0]
    tally = Tally()
    for ids in _batches():
        for key in VaultKey.objects.filter(pk__in=ids):
            _rewrap(key, every, first, tally)
    return tally


def _batches() -> Iterator[list[UUID]]:
    """Yield the ids of all scopes that have a key, some at a time, in order."""
    ids = VaultKey.objects.order_by("pk").values_list("pk", flat=True)
    last: list[UUID] = list(ids[:_BATCH])
    while last:
        yield last
        last = list(ids.filter(pk__gt=last[-1])[:_BATCH])


def _rewrap(key: VaultKey, every: MultiFernet, first: Fernet, tally: Tally) -> bool:
    """Put the key into its new wrapping; say whether that changed anything."""
    try:
        inner = every.decrypt(key.wrapped_key)
        # What comes out must be a key, or the wrapping hides something else.
        Fernet(inner)
    except (InvalidToken, ValueError):
        tally.lost.append(key.scope_id)
        return False
    if _opens(first, key.wrapped_key):
        tally.current += 1
        return False
    key.wrapped_key = first.encrypt(inner).decode()
    tally.rotated += 1
    return True


def _opens(fernet: Fernet, token: str) -> bool:
    try:
        fernet.decrypt(token)
    except InvalidToken:
        return False
    return True
