"""What every test of tasks starts from."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from planner import observed


@pytest.fixture(autouse=True)
def _nothing_observed_before():
    """What a test's steps took is no other test's estimate."""
    observed.register("tasks_app.experience.observations")
    yield
    observed.register("tasks_app.experience.observations")


@pytest.fixture
def keep(settings: Any) -> Callable[..., None]:
    """Return a function that sets how many days a part is kept; all else stays."""
    parts = ("EVENTS", "RESULTS", "VAULT", "IDEMPOTENCY", "SCREENINGS", "EXECUTIONS")
    for part in parts:
        setattr(settings, f"OCTOLLM_RETAIN_{part}_DAYS", 0)

    def set_days(*chosen: str, days: float = 30) -> None:
        for part in chosen or parts:
            setattr(settings, f"OCTOLLM_RETAIN_{part}_DAYS", days)

    return set_days
