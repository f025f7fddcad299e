"""API keys: made, found, revoked.

Guessing needs neither a lock-out nor a rate limit: a key is 256 random bits, so a
million guesses a second would take 10**63 years on average. For the same reason a
plain SHA-256 is enough, and looking it up by index leaks nothing by its timing.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models import Q
from django.utils import timezone

from octollm.access import owners
from octollm.access.models import ApiKey, Owner
from octollm.rows import RowReader

TOKEN = re.compile(r"octo_[A-Za-z0-9_-]{43}", re.ASCII)
# Read the metrics; have texts screened.
KNOWN_SCOPES = frozenset({"metrics", "screen"})
# Announce instances of any arm, or of one: they then get the steps of all owners.
ARM_SCOPE = re.compile(r"arms|arm:[a-z][a-z0-9_]{0,63}", re.ASCII)
# How much of a token is kept to recognise it by; 48 of its 256 bits.
PREFIX_LENGTH = len("octo_") + 8
_USE_INTERVAL = timedelta(minutes=1)
# By hand: every request asks it.
_KEYS, _OWNERS = RowReader(ApiKey), RowReader(Owner)
_FIND = (
    f"SELECT {_KEYS.columns('k')}, {_OWNERS.columns('o')} "  # noqa: S608  # our names
    "FROM api_keys k JOIN owners o ON o.id = k.owner_id "
    "WHERE k.sha256 = %s AND k.revoked_at IS NULL AND o.is_active"
)


def get_or_create_owner(name: str) -> Owner:
    """Return the owner of that name; made when there is none."""
    return owners.make(name=name)


def create_key(
    *,
    owner_name: str,
    name: str,
    scopes: Collection[str] = (),
    expires_in: timedelta | None = None,
) -> tuple[ApiKey, str]:
    """Make a key for an owner and return it with its token.

    The token is nowhere stored: this is the only time it can be shown. No scope
    means the full API.

    Raises:
        ValueError: a scope is unknown, a name is blank or the time is not ahead.
    """
    owner_name, name = owner_name.strip(), name.strip()
    unknown = sorted(scope for scope in set(scopes) if not is_scope(scope))
    if unknown:
        raise ValueError(f"unknown scope: {', '.join(unknown)}")
    if not owner_name or not name:
        raise ValueError("a key needs a name and an owner's name")
    if expires_in is not None and expires_in <= timedelta():
        raise ValueError("a key must expire in the future")
    return make_key(
        get_or_create_owner(owner_name),
        name=name,
        scopes=scopes,
        expires_at=timezone.now() + expires_in if expires_in else None,
    )


def make_key(
    owner: Owner,
    *,
    name: str,
    scopes: Collection[str] = (),
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """Store a new key of the owner and return it with its token."""
    token = f"octo_{secrets.token_urlsafe(32)}"
    key = ApiKey.objects.create(
        owner=owner,
        name=name,
        prefix=token[:PREFIX_LENGTH],
        sha256=token_hash(token),
        scopes=sorted(set(scopes)),
        expires_at=expires_at,
    )
    return key, token


def is_scope(text: str) -> bool:
    """Say whether a key may be narrowed to this."""
    return text in KNOWN_SCOPES or ARM_SCOPE.fullmatch(text) is not None


def token_hash(token: str) -> str:
    """Return what is stored of a token."""
    return hashlib.sha256(token.encode()).hexdigest()


def find_key(token: str) -> ApiKey | None:
    """Return the key with its owner if the token may be used now; one query."""
    if not TOKEN.fullmatch(token):
        return None
    with connection.cursor() as cursor:
        cursor.execute(_FIND, [token_hash(token)])
        row = cursor.fetchone()
    if row is None:
        return None
    key = _KEYS.read(row[: _KEYS.width])
    key.owner = _OWNERS.read(row[_KEYS.width :])
    return key if key.state == "active" else None


def is_use_due(key: ApiKey) -> bool:
    """Say whether the key's last use should be written: at most once a minute."""
    return (
        key.last_used_at is None or key.last_used_at <= timezone.now() - _USE_INTERVAL
    )


def note_use(key: ApiKey) -> None:
    """Keep that the key was used now."""
    now = timezone.now()
    before = now - _USE_INTERVAL
    # The condition lets one of many requests at the same instant write.
    ApiKey.objects.filter(
        Q(last_used_at=None) | Q(last_used_at__lte=before), pk=key.pk
    ).update(last_used_at=now)


def find_named(name: str) -> list[ApiKey]:
    """Return the keys of that id or prefix; several may share a prefix."""
    try:
        return list(ApiKey.objects.filter(pk=UUID(name)))
    except ValueError:
        return list(ApiKey.objects.filter(prefix=name))


def revoke_keys(keys: Collection[UUID]) -> int:
    """Revoke the keys of these ids for good; return how many were not yet."""
    return ApiKey.objects.filter(pk__in=keys, revoked_at=None).update(
        revoked_at=timezone.now()
    )
