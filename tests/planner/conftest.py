"""Fixtures of tests that plan with a model behind the cache."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from octollm.resilience import outbound
from tests import fakes
from tests.engines import TestEngines
from tests.fakes import FakeModel
from tests.planner.cache_cases import GOOD, empty_cache


@pytest.fixture
def cached_model(settings: Any, engines: TestEngines) -> Iterator[FakeModel]:
    """Return a model that plans well, with an empty cache in front of it."""
    with FakeModel() as fake:
        settings.OCTOLLM_LLM_BASE_URL = fake.base_url
        settings.OCTOLLM_LLM_MODEL = "fake-model"
        settings.OCTOLLM_PLAN_CACHE_TTL_S = 3600.0
        fake.default = fakes.completion(GOOD)
        empty_cache()
        yield fake
        outbound.shutdown()
