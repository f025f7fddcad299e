"""What must be settled before the reflex can work, as Django system checks."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from octollm.errors import ScreeningUnavailableError, VaultError
from reflex.engine import engine
from reflex.vault import settings_fernet

_MIN_HMAC_KEY = 32


@checks.register("reflex")
def check_keys(**_options: Any) -> list[checks.CheckMessage]:
    """Look at the vault's and the fingerprints' keys."""
    problems: list[checks.CheckMessage] = []
    try:
        settings_fernet()
    except VaultError as error:
        problems.append(
            checks.Error(
                error.message,
                hint="Make one with: python -c 'from cryptography.fernet import Fernet; "
                "print(Fernet.generate_key().decode())'",
                id="reflex.E001" if not settings.OCTOLLM_VAULT_KEYS else "reflex.E002",
            )
        )
    if len(settings.OCTOLLM_HMAC_KEY) < _MIN_HMAC_KEY:
        problems.append(
            checks.Error(
                f"OCTOLLM_HMAC_KEY is shorter than {_MIN_HMAC_KEY} characters.",
                hint="Make one with: python -c 'import secrets; "
                "print(secrets.token_urlsafe(32))'",
                id="reflex.E003",
            )
        )
    return problems


@checks.register("reflex")
def check_engine(**_options: Any) -> list[checks.CheckMessage]:
    """Build the engine and say when it is the slow one."""
    try:
        name = engine().name
    except ScreeningUnavailableError as error:
        return [
            checks.Error(
                f"No engine can run the reflex: {error.message}",
                hint="Install hyperscan or google-re2, or unset OCTOLLM_REFLEX_ENGINE.",
                id="reflex.E004",
            )
        ]
    if name != "re":
        return []
    return [
        checks.Warning(
            "The reflex runs on Python's re: right, but a hundred times slower.",
            hint="Install hyperscan or google-re2.",
            id="reflex.W001",
        )
    ]


@checks.register("reflex")
def check_remote(**_options: Any) -> list[checks.CheckMessage]:
    """Find an address that cannot be asked, and say when blocking is off."""
    problems: list[checks.CheckMessage] = []
    url = settings.OCTOLLM_REFLEX_URL
    if url and not _is_http(url):
        problems.append(
            checks.Error(
                "OCTOLLM_REFLEX_URL is not the address of a service.",
                hint="It looks like http://reflex:8080, with nothing behind it that "
                "begins with ? or #.",
                id="reflex.E005",
            )
        )
    if url and settings.OCTOLLM_REFLEX_TIMEOUT_S <= 0:
        problems.append(
            checks.Error(
                "OCTOLLM_REFLEX_TIMEOUT_S leaves the remote reflex no time.",
                hint="Give it some seconds, or unset it.",
                id="reflex.E006",
            )
        )
    if not settings.OCTOLLM_REFLEX_ENABLED:
        problems.append(
            checks.Warning(
                "Blocking is off: attacks in requests are noted and let through.",
                hint="Unset OCTOLLM_REFLEX_ENABLED.",
                id="reflex.W002",
            )
        )
    return problems


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    is_plain = not parts.query and not parts.fragment
    return parts.scheme in ("http", "https") and bool(parts.hostname) and is_plain
