"""What every test of tasks starts from."""

from __future__ import annotations

import pytest

from planner import observed


@pytest.fixture(autouse=True)
def _nothing_observed_before():
    """What a test's steps took is no other test's estimate."""
    observed.register("tasks_app.experience.observations")
    yield
    observed.register("tasks_app.experience.observations")
