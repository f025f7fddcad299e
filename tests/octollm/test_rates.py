"""Limits per minute: what is granted, what waits, and what happens without Redis."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from octollm.resilience.rates import take


@pytest.fixture
def scope(engines) -> str:
    """A scope of its own, with nothing taken."""
    return f"tests:{uuid4().hex}"


def test_minutes_worth_is_granted_and_then_told_how_long_to_wait(scope):
    granted = [take(scope, 1, per_minute=6) for _ in range(6)]

    wait_s = take(scope, 1, per_minute=6)

    assert granted == [0.0] * 6
    assert 9 < wait_s <= 10


def test_threads_together_are_granted_no_more_than_the_limit(scope):
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: take(scope, 1, per_minute=20), range(200)))

    # A slow run may see one more refilled every three seconds.
    assert 20 <= waits.count(0.0) <= 25
