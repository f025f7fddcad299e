"""Mistakes in the settings, found at start and told with a remedy."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

_MIN_KEY_CHARACTERS = 32
_VAULT_KEY_BYTES = 32
_MAKE_KEY = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
_MAKE_VAULT_KEY = (
    'python -c "import base64, os; '
    'print(base64.urlsafe_b64encode(os.urandom(32)).decode())"'
)


@checks.register(checks.Tags.security)
def check_keys(**_: Any) -> list[checks.CheckMessage]:
    """Find keys that are missing or too weak."""
    return [*_secret_key(), *_vault_keys(), *_hmac_key()]


def _secret_key() -> Iterator[checks.CheckMessage]:
    try:
        key: str = settings.SECRET_KEY
    except ImproperlyConfigured:
        key = ""
    if len(key) < _MIN_KEY_CHARACTERS:
        yield checks.Error(
            "OCTOLLM_SECRET_KEY is missing or too short.",
            hint=f"Set it, or OCTOLLM_SECRET_KEY_FILE, to the output of: {_MAKE_KEY}",
            id="octollm.E001",
        )


def _vault_keys() -> Iterator[checks.CheckMessage]:
    keys: list[str] = settings.OCTOLLM_VAULT_KEYS
    if not keys:
        yield checks.Error(
            "OCTOLLM_VAULT_KEYS is missing: personal data could not be encrypted.",
            hint=f"Set it to the output of: {_MAKE_VAULT_KEY}",
            id="octollm.E002",
        )
    elif not all(_is_vault_key(key) for key in keys):
        yield checks.Error(
            "A key in OCTOLLM_VAULT_KEYS is not 32 bytes in URL-safe base64.",
            hint=f"Keys are separated by commas; make one by: {_MAKE_VAULT_KEY}",
            id="octollm.E003",
        )


def _is_vault_key(key: str) -> bool:
    try:
        padded = key + "=" * (-len(key) % 4)
        return len(base64.urlsafe_b64decode(padded)) == _VAULT_KEY_BYTES
    except (binascii.Error, ValueError):
        return False


def _hmac_key() -> Iterator[checks.CheckMessage]:
    if len(settings.OCTOLLM_HMAC_KEY) < _MIN_KEY_CHARACTERS:
        yield checks.Error(
            "OCTOLLM_HMAC_KEY is missing or too short: fingerprints and the chain of "
            "events could be forged.",
            hint=f"Set it to the output of: {_MAKE_KEY}",
            id="octollm.E004",
        )
    elif settings.OCTOLLM_HMAC_KEY in settings.OCTOLLM_VAULT_KEYS:
        yield checks.Error(
            "OCTOLLM_HMAC_KEY is also a vault key.",
            hint=f"Use a key of its own for each: {_MAKE_KEY}",
            id="octollm.E005",
        )


@checks.register
def check_engines(**_: Any) -> list[checks.CheckMessage]:
    """Find a database that is not PostgreSQL and a Redis address that is none."""
    found: list[checks.CheckMessage] = []
    if settings.DATABASES["default"]["ENGINE"] != "django.db.backends.postgresql":
        found.append(
            checks.Error(
                "OCTOLLM_DATABASE_URL does not name a PostgreSQL database.",
                hint="It looks like postgresql://user:password@host:5432/octollm.",
                id="octollm.E006",
            )
        )
    if urlsplit(settings.REDIS_URL).scheme not in ("redis", "rediss", "unix"):
        found.append(
            checks.Error(
                "OCTOLLM_REDIS_URL does not name a Redis or Valkey server.",
                hint="It looks like redis://host:6379/0 or unix:///path/to/socket.",
                id="octollm.E007",
            )
        )
    return found


@checks.register
def check_times(**_: Any) -> list[checks.CheckMessage]:
    """Find leases that would run out while their holders are well."""
    found: list[checks.CheckMessage] = []
    if settings.OCTOLLM_LEASE_RENEW_S * 2 > settings.OCTOLLM_LEASE_S:
        found.append(
            checks.Error(
                "A claim's lease runs out after one renewal that came late.",
                hint="OCTOLLM_LEASE_RENEW_S must be at most half of OCTOLLM_LEASE_S.",
                id="octollm.E008",
            )
        )
    if settings.OCTOLLM_REAPER_INTERVAL_S * 2 > settings.OCTOLLM_LEADER_TTL_S:
        found.append(
            checks.Error(
                "The reaper loses its duty between two of its own rounds.",
                hint="OCTOLLM_REAPER_INTERVAL_S must be at most half of "
                "OCTOLLM_LEADER_TTL_S.",
                id="octollm.E009",
            )
        )
    return found


@checks.register
def check_metrics_directory(**_: Any) -> list[checks.CheckMessage]:
    """Find a directory for metrics that is not there, which fails every request."""
    name = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")
    if not name or (Path(name).is_dir() and os.access(name, os.W_OK)):
        return []
    return [
        checks.Error(
            "PROMETHEUS_MULTIPROC_DIR is not a directory that we may write to.",
            hint="Make it before the processes start, empty, and the same for all.",
            id="octollm.E010",
        )
    ]


@checks.register(checks.Tags.security, deploy=True)
def check_hosts(**_: Any) -> list[checks.CheckMessage]:
    """Find a deployment that only this machine could reach, or any name."""
    hosts: list[str] = settings.ALLOWED_HOSTS
    if "*" not in hosts and not all(_is_this_machine(host) for host in hosts):
        return []
    return [
        checks.Warning(
            "OCTOLLM_ALLOWED_HOSTS allows every name, or none but this machine's.",
            hint="List the names under which the system is reached.",
            id="octollm.W001",
        )
    ]


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
