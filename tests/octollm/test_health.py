"""The probes: alive without anything, ready only with everything."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from django.db import connection
from rest_framework.test import APIClient

from octollm import __version__, health
from tests.waiting import wait_until

BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"

_release = threading.Event()
_asked: list[float] = []


def passes() -> bool:
    return True


def says_no() -> bool:
    return False


def says_why() -> tuple[bool, str]:
    return False, "the rules are being compiled"


def passes_with_a_word() -> tuple[bool, str]:
    return True, "hyperscan"


def breaks() -> bool:
    raise ValueError("postgresql://user:password@host")


def hangs() -> bool:
    _asked.append(time.monotonic())
    return _release.wait(30)


@pytest.fixture(autouse=True)
def _own_checks(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(health, "_probes", {})
    _release.clear()
    _asked.clear()
    yield
    _release.set()


def test_alive_needs_no_database(django_db_blocker) -> None:
    with django_db_blocker.block():
        response = APIClient().get("/health")
    assert response.json() == {"status": "healthy", "version": __version__}


def test_the_service_names_itself_and_its_addresses() -> None:
    body = APIClient().get("/").json()
    assert (body["service"], body["version"]) == ("OctoLLM", __version__)
    assert body["links"]["docs"] == "http://testserver/docs"
    assert set(body["links"]) >= {"health", "ready", "metrics", "schema", "admin"}


def test_the_open_addresses_look_at_no_credential() -> None:
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION="Bearer wrong")
    assert [client.get(path).status_code for path in ("/", "/health", "/ready")] == [
        200
    ] * 3


def test_ready_when_every_check_passes() -> None:
    health.register("one", f"{__name__}.passes")
    health.register("two", f"{__name__}.passes_with_a_word")
    response = APIClient().get("/ready")
    assert response.status_code == 200
    assert response.json()["status"] == "ready"
    assert [check["status"] for check in response.json()["checks"]] == ["ok", "ok"]
    assert [check["note"] for check in response.json()["checks"]] == ["", "hyperscan"]


@pytest.mark.parametrize(
    ("check", "detail"),
    [
        ("says_no", "not ready"),
        ("says_why", "the rules are being compiled"),
        ("breaks", "failed: ValueError"),
        ("does_not_exist", "failed: ImportError"),
    ],
)
def test_one_failing_check_is_enough_for_503(check: str, detail: str) -> None:
    health.register("one", f"{__name__}.passes")
    health.register("two", f"{__name__}.{check}")
    response = APIClient().get("/ready")
    assert response.status_code == 503
    assert [c["detail"] for c in response.json()["checks"]] == ["", detail]
    assert b"password" not in response.content


def test_a_check_that_hangs_is_given_up() -> None:
    health.register("one", f"{__name__}.hangs", timeout_s=0.05)
    started = time.monotonic()
    response = APIClient().get("/ready")
    assert response.status_code == 503
    assert response.json()["checks"][0]["detail"] == "no answer within 0.05 s"
    assert time.monotonic() - started < 5


def test_a_check_that_hangs_is_not_started_again() -> None:
    health.register("one", f"{__name__}.hangs", timeout_s=0.05)
    for _ in range(3):
        APIClient().get("/ready")
    assert len(_asked) == 1


def test_a_check_that_came_back_is_asked_again() -> None:
    health.register("one", f"{__name__}.hangs", timeout_s=0.05)
    assert APIClient().get("/ready").status_code == 503
    _release.set()
    wait_until(lambda: APIClient().get("/ready").status_code == 200, timeout_s=10)


def test_checks_run_side_by_side() -> None:
    for name in "abc":
        health.register(name, f"{__name__}.hangs", timeout_s=0.3)
    started = time.monotonic()
    results = health.check_all()
    assert [result.name for result in results] == ["a", "b", "c"]
    assert time.monotonic() - started < 0.8


def test_a_browser_sees_the_checks_as_a_page() -> None:
    health.register("one", f"{__name__}.says_no")
    response = APIClient().get("/ready", HTTP_ACCEPT=BROWSER)
    assert response.status_code == 503
    assert b"not ready" in response.content


@pytest.mark.django_db
def test_the_engines_of_the_tests_are_ready() -> None:
    assert health.is_database_ready()
    assert health.is_redis_ready()


def test_a_redis_that_is_away_is_not_ready(settings) -> None:
    settings.REDIS_URL = "unix:///nonexistent/redis.sock"
    health.register("redis", "octollm.health.is_redis_ready")
    assert APIClient().get("/ready").status_code == 503


@pytest.mark.django_db
def test_a_database_that_is_away_is_not_ready(monkeypatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "HOST", "/nonexistent")
    health.register("database", "octollm.health.is_database_ready")
    (check,) = APIClient().get("/ready").json()["checks"]
    assert check["detail"] == "failed: OperationalError"


@pytest.mark.django_db
def test_a_migration_not_applied_is_noticed_and_a_clean_state_kept(
    monkeypatch,
) -> None:
    monkeypatch.setattr(health, "_migrated", threading.Event())
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_migrations SET app = 'gone' WHERE app = 'reflex'")
    assert not health.are_migrations_applied()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE django_migrations SET app = 'reflex' WHERE app = 'gone'")
    assert health.are_migrations_applied()
    with connection.execute_wrapper(_refuse):
        assert health.are_migrations_applied()


def _refuse(*_: object) -> None:
    raise AssertionError("asked again")
