"""Limits per minute: what is granted, what waits, and what happens without Redis."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest

from octollm.resilience import rates, redis_client
from octollm.resilience.rates import give_back, take


@pytest.fixture(autouse=True)
def _remembering_no_outage():
    rates._outage = rates._Outage()
    yield
    rates._outage = rates._Outage()


@pytest.fixture
def scope(engines) -> str:
    """A scope of its own, with nothing taken."""
    return f"tests:{uuid4().hex}"


def later(scope: str, seconds: float) -> None:
    """Have all that was taken be taken so much earlier."""
    key = f"octollm:rates:{scope}"
    at = float(redis_client.client().hget(key, "at") or 0)
    redis_client.client().hset(key, "at", str(at - seconds))


def test_minutes_worth_is_granted_and_then_told_how_long_to_wait(scope):
    granted = [take(scope, 1, per_minute=6) for _ in range(6)]

    wait_s = take(scope, 1, per_minute=6)

    assert granted == [0.0] * 6
    assert 9 < wait_s <= 10


def test_what_was_told_to_wait_is_granted_after_it(scope):
    take(scope, 6000, per_minute=6000)
    wait_s = take(scope, 3000, per_minute=6000)

    later(scope, wait_s)

    assert 29 < wait_s <= 30
    assert take(scope, 3000, per_minute=6000) == 0.0


def test_refusal_takes_nothing(scope):
    take(scope, 5, per_minute=6)
    assert take(scope, 6, per_minute=6) > 0

    assert take(scope, 1, per_minute=6) == 0.0


def test_long_rest_saves_up_no_more_than_a_minutes_worth(scope):
    take(scope, 6, per_minute=6)
    later(scope, 3600)

    granted = [take(scope, 1, per_minute=6) for _ in range(7)]

    assert granted[:6] == [0.0] * 6
    assert granted[6] > 0


def test_more_than_the_limit_is_granted_from_a_full_bucket_and_paid_off(scope):
    assert take(scope, 15_000, per_minute=6000) == 0.0

    wait_s = take(scope, 1000, per_minute=6000)

    assert 99 < wait_s <= 100


def test_more_than_the_limit_waits_for_a_full_bucket(scope):
    take(scope, 3000, per_minute=6000)

    wait_s = take(scope, 15_000, per_minute=6000)
    later(scope, wait_s)

    assert 29 < wait_s <= 30
    assert take(scope, 15_000, per_minute=6000) == 0.0


def test_what_was_not_used_can_be_taken_again(scope):
    take(scope, 6000, per_minute=6000)
    give_back(scope, 4000, per_minute=6000)

    assert take(scope, 4000, per_minute=6000) == 0.0
    assert take(scope, 1000, per_minute=6000) > 0


def test_no_more_is_kept_than_a_minutes_worth(scope):
    give_back(scope, 1000, per_minute=6)

    assert take(scope, 6, per_minute=6) == 0.0
    assert take(scope, 1, per_minute=6) > 0


def test_lowered_limit_holds_at_once(scope):
    take(scope, 10, per_minute=6000)

    assert take(scope, 6, per_minute=6) == 0.0
    assert take(scope, 1, per_minute=6) > 0


@pytest.mark.parametrize(("amount", "per_minute"), [(0, 6), (-1, 6), (7, 0), (7, -1)])
def test_nothing_taken_and_no_limit_write_nothing(scope, amount, per_minute):
    assert take(scope, amount, per_minute=per_minute) == 0.0
    give_back(scope, amount, per_minute=per_minute)

    assert not redis_client.client().exists(f"octollm:rates:{scope}")


def test_scopes_share_nothing(scope):
    take(scope, 6, per_minute=6)

    assert take(f"{scope}:other", 6, per_minute=6) == 0.0


def test_keys_end_when_the_bucket_would_be_full(scope):
    take(scope, 3, per_minute=6)

    ttl_ms = redis_client.client().pttl(f"octollm:rates:{scope}")

    assert 30_000 < ttl_ms <= 31_000


def test_threads_together_are_granted_no_more_than_the_limit(scope):
    with ThreadPoolExecutor(16) as pool:
        waits = list(pool.map(lambda _: take(scope, 1, per_minute=20), range(200)))

    # One is refilled every three seconds: a slow run sees another one or two.
    assert 20 <= waits.count(0.0) <= 22


def test_flushed_server_grants_anew(scope):
    take(scope, 6, per_minute=6)
    redis_client.client().flushall()
    redis_client.client().script_flush()

    assert take(scope, 6, per_minute=6) == 0.0


def test_without_a_server_all_is_granted_and_it_is_told_once(settings: Any, caplog):
    settings.REDIS_URL = "unix:///nonexistent/valkey.sock"

    for _ in range(3):
        assert take("tests:away", 100, per_minute=6) == 0.0
        rates._outage._until = 0.0
    give_back("tests:away", 100, per_minute=6)

    assert caplog.text.count("rates are not limited") == 1


def test_server_that_hangs_is_asked_once_and_then_left_alone(settings: Any):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.REDIS_URL = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

        waits = [take("tests:hung", 100, per_minute=6) for _ in range(50)]

        listener.settimeout(1.0)
        listener.accept()[0].close()
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert waits == [0.0] * 50
