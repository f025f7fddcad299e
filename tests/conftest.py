"""Private engines for the run: one PostgreSQL and one Valkey, started once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.test.utils import setup_databases, teardown_databases

from octollm.resilience import breakers
from tests import figures, leaks
from tests.engines import TestEngines, running_engines


@pytest.fixture(scope="session", autouse=True)
def _no_secret_or_personal_data_in_any_prompt() -> Iterator[None]:
    """Look, when all is done, at what the fake models of the whole run received.

    A fake fails its own test too; this holds where the failure of a teardown is lost.
    """
    yield
    assert leaks.refused() == []


@pytest.fixture(autouse=True)
def _every_provider_is_well() -> None:
    """Read the breakers anew: the rows of the last test are gone."""
    breakers._cache.forget()


@pytest.fixture(scope="session")
def engines() -> Iterator[TestEngines]:
    """Start the engines when the first test needs them; stop them with the run."""
    with running_engines() as running:
        yield running


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker: Any, engines: TestEngines
) -> Iterator[None]:
    """Make the test database on the engines.

    In place of pytest-django's own, which makes none when only tests run that use it
    through other processes.
    """
    with django_db_blocker.unblock():
        databases = setup_databases(verbosity=0, interactive=False)
    yield
    with django_db_blocker.unblock():
        teardown_databases(databases, verbosity=0)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option by which another PostgreSQL is tried."""
    parser.addoption(
        "--database-only",
        action="store_true",
        help="run the tests that reach a database: no other can tell versions apart",
    )


def pytest_collection_modifyitems(
    config: pytest.Config, items: list[pytest.Item]
) -> None:
    """Leave out what reaches no database, if that is wanted."""
    if config.getoption("--database-only"):
        reaching = [item for item in items if _reaches_a_database(item)]
        left_out = [item for item in items if not _reaches_a_database(item)]
        config.hook.pytest_deselected(items=left_out)
        items[:] = reaching


def _reaches_a_database(item: pytest.Item) -> bool:
    engines = {"engines", "django_db_setup"}
    return item.get_closest_marker("django_db") is not None or bool(
        engines & set(getattr(item, "fixturenames", ()))
    )


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what tests measured on the way; none of it is a bound."""
    if figures.seen():
        terminalreporter.section("figures")
        for line in figures.seen():
            terminalreporter.line(line)
