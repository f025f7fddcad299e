"""Private engines for the run: one PostgreSQL and one Valkey, started once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engines import TestEngines, running_engines


@pytest.fixture(scope="session")
def engines() -> Iterator[TestEngines]:
    """Start the engines when the first test needs them; stop them with the run."""
    with running_engines() as running:
        yield running


@pytest.fixture(scope="session")
def django_db_modify_db_settings(engines: TestEngines) -> None:
    """Have the engines run before pytest-django makes its database on them."""
