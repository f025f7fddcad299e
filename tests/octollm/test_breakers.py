"""Breakers: who may ask, who probes, and what everybody is told."""

from __future__ import annotations

import pytest

from octollm.resilience import breakers
from octollm.resilience.breakers import Permit, ask, failed, succeeded
from octollm.resilience.models import Breaker

pytestmark = pytest.mark.django_db
NAME = "llm:tests"


@pytest.fixture(autouse=True)
def _as_a_new_process():
    breakers._cache.forget()
    breakers._cache._rows = {}


def fail(times: int = breakers.FAILURES) -> None:
    for _ in range(times):
        failed(NAME)


def test_what_never_failed_is_asked_and_has_no_row():
    assert ask(NAME) == Permit(is_allowed=True)
    succeeded(NAME)
    assert not Breaker.objects.exists()


def test_fifth_failure_opens():
    fail(4)
    assert ask(NAME).is_allowed
    failed(NAME)

    permit = ask(NAME)

    assert not permit.is_allowed
    assert 53 < permit.wait_s <= 66
