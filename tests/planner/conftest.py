"""Nothing was observed before a test of the planner, and it may name any host."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from octollm.resilience import outbound
from planner import observed
from planner.observed import Observations
from tests import fakes
from tests.engines import TestEngines
from tests.fakes import FakeModel
from tests.planner import observing
from tests.planner.cache_cases import GOOD, empty_cache
from tests.registries import without_tables


@pytest.fixture(autouse=True)
def _nothing_observed() -> Iterator[None]:
    registered = observed._known.path
    observed.register("")
    yield
    observed.register(registered)


@pytest.fixture(autouse=True)
def _arms_of_this_process(request: pytest.FixtureRequest, monkeypatch: Any) -> None:
    without_tables(request, monkeypatch)


@pytest.fixture(autouse=True)
def _every_host_is_allowed(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = '{"hosts": "*"}'


@pytest.fixture
def observe() -> Callable[[Observations], None]:
    """Return what tells the planner what steps took before."""

    def tell(figures: Observations) -> None:
        observing.tell(figures)
        observed.register("tests.planner.observing.figures")

    return tell


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
