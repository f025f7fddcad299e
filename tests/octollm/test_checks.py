"""Mistakes in the settings are found at start, each with a remedy."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.core.checks import CheckMessage

from octollm import checks

SHORT = "k" * 31
LONG = "k" * 32


def ids(found: list[CheckMessage]) -> list[str | None]:
    return [message.id for message in found]


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("SECRET_KEY", "", "octollm.E001"),
        ("SECRET_KEY", SHORT, "octollm.E001"),
        ("OCTOLLM_VAULT_KEYS", [], "octollm.E002"),
        ("OCTOLLM_VAULT_KEYS", ["too-short"], "octollm.E003"),
        ("OCTOLLM_VAULT_KEYS", ["A" * 43, "not base64 at all"], "octollm.E003"),
        ("OCTOLLM_HMAC_KEY", "", "octollm.E004"),
        ("OCTOLLM_HMAC_KEY", SHORT, "octollm.E004"),
    ],
)
def test_a_key_that_is_missing_or_weak_is_found(
    settings, name: str, value: object, found: str
) -> None:
    setattr(settings, name, value)
    (message,) = checks.check_keys()
    assert message.id == found
    assert message.hint
    assert "python -c" in message.hint


def test_one_key_for_two_purposes_is_found(settings) -> None:
    settings.OCTOLLM_VAULT_KEYS = [settings.OCTOLLM_HMAC_KEY, "A" * 43]
    assert "octollm.E003" in ids(checks.check_keys())
    settings.OCTOLLM_HMAC_KEY = "A" * 43
    settings.OCTOLLM_VAULT_KEYS = ["A" * 43]
    assert ids(checks.check_keys()) == ["octollm.E005"]


def test_no_message_repeats_a_key(settings) -> None:
    settings.SECRET_KEY = settings.OCTOLLM_HMAC_KEY = "hunter2"
    settings.OCTOLLM_VAULT_KEYS = ["hunter2"]
    found = checks.check_keys()
    assert len(found) == 3
    assert "hunter2" not in str(found)


@pytest.mark.parametrize("padding", ["", "="])
def test_good_keys_pass(settings, padding: str) -> None:
    settings.SECRET_KEY = settings.OCTOLLM_HMAC_KEY = LONG
    settings.OCTOLLM_VAULT_KEYS = ["A" * 43 + padding, "B" * 43 + padding]
    assert checks.check_keys() == []


def test_another_database_than_postgresql_is_found(settings, monkeypatch) -> None:
    other = "django.db.backends.sqlite3"
    monkeypatch.setitem(settings.DATABASES["default"], "ENGINE", other)
    assert ids(checks.check_engines()) == ["octollm.E006"]


@pytest.mark.parametrize(
    ("url", "found"),
    [
        ("redis://host:6379/0", []),
        ("rediss://host:6379/0", []),
        ("unix:///run/redis.sock", []),
        ("http://host", ["octollm.E007"]),
        ("", ["octollm.E007"]),
    ],
)
def test_an_address_that_names_no_redis_is_found(
    settings, url: str, found: list[str]
) -> None:
    settings.REDIS_URL = url
    assert ids(checks.check_engines()) == found


@pytest.mark.parametrize(
    ("renew_s", "interval_s", "found"),
    [
        (5.0, 5.0, []),
        (5.1, 5.0, ["octollm.E008"]),
        (5.0, 5.1, ["octollm.E009"]),
    ],
)
def test_times_that_defeat_a_lease_are_found(
    settings, renew_s: float, interval_s: float, found: list[str]
) -> None:
    settings.OCTOLLM_LEASE_S = settings.OCTOLLM_LEADER_TTL_S = 10.0
    settings.OCTOLLM_LEASE_RENEW_S = renew_s
    settings.OCTOLLM_REAPER_INTERVAL_S = interval_s
    assert ids(checks.check_times()) == found


def test_a_directory_for_metrics_that_is_missing_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    assert ids(checks.check_metrics_directory()) == ["octollm.E010"]
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert checks.check_metrics_directory() == []


@pytest.mark.parametrize(
    ("hosts", "found"),
    [
        (["octollm.example.org"], []),
        (["localhost", "octollm.example.org"], []),
        (["localhost", "127.0.0.1", "[::1]"], ["octollm.W001"]),
        ([], ["octollm.W001"]),
        (["*"], ["octollm.W001"]),
        (["octollm.example.org", "*"], ["octollm.W001"]),
    ],
)
def test_hosts_that_let_in_nobody_or_everybody_are_found(
    settings, hosts: list[str], found: list[str]
) -> None:
    settings.ALLOWED_HOSTS = hosts
    assert ids(checks.check_hosts()) == found
