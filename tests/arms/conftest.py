"""A model to ask, and a ledger in memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.fakes import FakeModel
from tests.ledgers import MemoryMeter
from tests.models import model_in_settings


@pytest.fixture
def model(settings: Any, db: None) -> Iterator[FakeModel]:
    """Serve a model as the one provider of the settings."""
    with model_in_settings(settings) as fake:
        yield fake


@pytest.fixture
def meter() -> MemoryMeter:
    """Return an empty ledger."""
    return MemoryMeter()
