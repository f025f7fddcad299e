"""The conditions under which goals are judged: every run alike."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from planner import observed
from tests.evaluation.catalogue import POLICY
from tests.registries import without_tables


@pytest.fixture(autouse=True)
def _arms_of_this_process(request: pytest.FixtureRequest, monkeypatch: Any) -> None:
    without_tables(request, monkeypatch)


@pytest.fixture(autouse=True)
def _as_on_the_first_day(settings: Any) -> Iterator[None]:
    """Allow what the goals ask for, and estimate by the catalogue alone."""
    settings.OCTOLLM_PLAN_POLICY = POLICY
    registered = observed._known.path
    observed.register("")
    yield
    observed.register(registered)
