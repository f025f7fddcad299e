"""Redis killed, hanging or absent: plans are made without the cache."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests import fakes
from tests.fakes import FakeModel
from tests.planner import callers
from tests.planner.cache_cases import (
    GOOD,
    Outcomes,
    planned,
    private_valkey,
    when,
)
from tests.waiting import wait_until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def valkey(cached_model: FakeModel, settings: Any) -> Iterator[int]:
    """Put the cache into a Valkey of the test's own; give its process id."""
    with private_valkey() as (url, pid):
        settings.REDIS_URL = url
        yield pid
        os.kill(pid, signal.SIGCONT)


def test_without_a_server_plans_are_made(
    cached_model: FakeModel, settings: Any
) -> None:
    outcomes = Outcomes()
    settings.REDIS_URL = "unix:///nonexistent/redis.sock"

    assert [planned().source for _ in range(2)] == ["model", "model"]
    assert outcomes.new() == {"unavailable": 2}


def test_a_server_killed_while_one_plans_and_others_wait_stops_nobody(
    cached_model: FakeModel, valkey: int
) -> None:
    ready = threading.Event()
    cached_model.default = when(ready, fakes.completion(GOOD))
    with ThreadPoolExecutor(6) as pool:
        calls = [pool.submit(callers.call) for _ in range(6)]
        wait_until(lambda: cached_model.requests, interval_s=0.01)

        os.kill(valkey, signal.SIGKILL)

        # Those who waited ask for themselves now.
        wait_until(lambda: len(cached_model.requests) == 6)
        ready.set()
        found = [call.result() for call in calls]
    assert [each.get("source") for each in found] == ["model"] * 6


def test_a_server_that_hangs_is_left_alone_and_used_again_later(
    cached_model: FakeModel, valkey: int
) -> None:
    outcomes = Outcomes()
    planned()
    os.kill(valkey, signal.SIGSTOP)
    assert planned().source == "model"
    os.kill(valkey, signal.SIGCONT)

    # It answers by now, and nobody looks.
    assert planned().source == "model"
    assert outcomes.new() == {"miss": 1, "unavailable": 2}

    wait_until(lambda: planned().source == "cache", interval_s=0.5)


def test_a_server_that_takes_no_more_is_no_error(
    cached_model: FakeModel, valkey: int
) -> None:
    from octollm.resilience import redis_client

    redis_client.client().config_set("maxmemory", "1")

    assert [planned().source for _ in range(2)] == ["model", "model"]
