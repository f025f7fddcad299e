"""Breakers: who may ask, who probes, and what everybody is told."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier
from typing import Any

import pytest
from django.db import OperationalError, connection, connections
from django.db.models import F
from django.db.models.functions import Now
from rest_framework.test import APIClient

from octollm.resilience import breakers, redis_client
from octollm.resilience.breakers import Permit, ask, failed, hold_off, succeeded
from octollm.resilience.models import Breaker
from tests.engines import TestEngines

# The default of OCTOLLM_BREAKER_OPEN_S.
OPEN_S = 60.0
pytestmark = pytest.mark.django_db
NAME = "llm:tests"
ALLOWED = Permit(is_allowed=True)


@pytest.fixture(autouse=True)
def _knowing_nothing():
    new_process()
    yield
    new_process()


def new_process() -> None:
    """Know as little of the rows as a process that has just begun."""
    breakers._cache = breakers._Cache()


def fail(times: int) -> None:
    for _ in range(times):
        failed(NAME)


def later(seconds: float) -> None:
    """Have all that was written happen so much earlier."""
    by = timedelta(seconds=seconds)
    moments = ("window_until", "open_until", "retry_at")
    Breaker.objects.update(**{name: F(name) - by for name in moments})
    new_process()


def opened() -> None:
    fail(breakers.FAILURES)
    assert not ask(NAME).is_allowed


def probing() -> None:
    opened()
    later(OPEN_S * 1.1)
    assert ask(NAME).is_probe


def state() -> str:
    return Breaker.objects.get().state


# Closed -----------------------------------------------------------------------
def test_what_never_failed_is_asked_and_has_no_row():
    assert ask(NAME) == ALLOWED
    succeeded(NAME)
    assert not Breaker.objects.exists()


def test_question_within_a_second_asks_the_database_nothing(
    django_assert_num_queries,
):
    ask(NAME)
    with django_assert_num_queries(0):
        ask(NAME)
        ask("llm:another")
        succeeded(NAME)


def test_fifth_failure_opens_for_a_minute():
    fail(4)
    assert ask(NAME) == ALLOWED
    failed(NAME)

    permit = ask(NAME)

    assert not permit.is_allowed
    assert 53 < permit.wait_s <= 66


def test_one_that_opens_says_nothing_of_another():
    opened()

    assert ask("llm:another") == ALLOWED


def test_failures_of_two_windows_do_not_add_up():
    fail(4)
    later(breakers.WINDOW_S)

    fail(4)

    assert ask(NAME) == ALLOWED


def test_success_forgets_the_failures_before_it():
    fail(4)
    succeeded(NAME)

    fail(4)

    assert ask(NAME) == ALLOWED


def test_failures_of_all_processes_add_up():
    fail(3)
    new_process()
    fail(2)

    assert not ask(NAME).is_allowed


# Open and half open ------------------------------------------------------------
def test_late_answers_change_nothing_while_it_is_open():
    opened()
    until = Breaker.objects.get().open_until

    succeeded(NAME)
    fail(10)

    assert (state(), Breaker.objects.get().open_until) == ("open", until)


def test_first_caller_after_the_minute_probes_and_the_others_wait():
    opened()
    later(OPEN_S * 1.1)

    first, second = ask(NAME), ask(NAME)

    assert first == Permit(is_allowed=True, is_probe=True)
    assert not second.is_allowed
    assert 0 < second.wait_s <= breakers.CACHE_S


def test_probe_that_succeeds_closes():
    probing()

    succeeded(NAME)

    assert ask(NAME) == ALLOWED
    assert (state(), Breaker.objects.get().failures) == ("closed", 0)


def test_probe_that_fails_opens_again():
    probing()

    failed(NAME)

    assert not ask(NAME).is_allowed
    assert ask(NAME).wait_s > 53


def test_probe_that_tells_nothing_is_given_up():
    probing()
    later(breakers.PROBE_S)

    assert ask(NAME).is_probe


def test_probe_that_is_handed_back_is_another_s():
    probing()

    breakers.hand_back(NAME)

    assert ask(NAME).is_probe


def test_what_is_handed_back_while_open_or_closed_changes_nothing():
    breakers.hand_back(NAME)
    opened()

    breakers.hand_back(NAME)

    assert not ask(NAME).is_allowed
    new_process()
    assert ask(NAME).wait_s > OPEN_S / 2


def test_state_outlives_the_process_and_a_flushed_redis(engines):
    opened()
    redis_client.client().flushall()
    new_process()

    assert not ask(NAME).is_allowed


# The other side's wish -----------------------------------------------------------
def test_all_leave_alone_what_asks_for_it():
    hold_off(NAME, seconds=30)
    new_process()

    permit = ask(NAME)

    assert not permit.is_allowed
    assert 25 < permit.wait_s <= 30
    assert state() == "closed"


def test_shorter_wish_does_not_cut_a_longer_one():
    hold_off(NAME, seconds=30)
    hold_off(NAME, seconds=5)

    assert ask(NAME).wait_s > 25


@pytest.mark.parametrize("seconds", [0.0, -5.0, float("nan")])
def test_wish_for_no_time_is_none(seconds: float):
    hold_off(NAME, seconds=seconds)

    assert not Breaker.objects.exists()


@pytest.mark.parametrize("seconds", [86_400.0, float("inf")])
def test_wish_is_heeded_ten_minutes_at_most(seconds: float):
    hold_off(NAME, seconds=seconds)

    assert 590 < ask(NAME).wait_s <= 600


def test_wish_ends_by_itself():
    hold_off(NAME, seconds=30)
    later(30)

    assert ask(NAME) == ALLOWED


def test_wish_holds_a_probe_back():
    opened()
    hold_off(NAME, seconds=600)
    later(OPEN_S * 1.1)

    assert not ask(NAME).is_allowed
    assert state() == "open"


def test_wish_that_this_process_has_not_read_yet_holds_a_probe_back():
    opened()
    later(OPEN_S * 1.1)
    ask("llm:another")  # reads all rows
    Breaker.objects.update(retry_at=Now() + timedelta(seconds=30))

    assert not ask(NAME).is_allowed
    assert state() == "open"


# Many at once ----------------------------------------------------------------------
def together(count: int, work: Any) -> list[Any]:
    barrier = Barrier(count)

    def one(_: int) -> Any:
        try:
            barrier.wait()
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


@pytest.mark.django_db(transaction=True)
def test_threads_that_fail_together_are_all_counted():
    together(4, lambda: failed(NAME))
    assert Breaker.objects.get().failures == 4

    failed(NAME)

    assert not ask(NAME).is_allowed


@pytest.mark.django_db(transaction=True)
def test_one_of_many_threads_probes():
    opened()
    later(OPEN_S * 1.1)

    permits = together(16, lambda: ask(NAME))

    assert sum(permit.is_probe for permit in permits) == 1
    assert sum(permit.is_allowed for permit in permits) == 1


ASKING = """
import django, sys, threading
django.setup()
from django.db import connections
from octollm.resilience import breakers
permits, barrier = [], threading.Barrier(8)
def one():
    connections["default"].ensure_connection()
    barrier.wait()
    permits.append(breakers.ask(sys.argv[1]))
threads = [threading.Thread(target=one) for _ in range(7)]
for thread in threads: thread.start()
print("ready", flush=True)
sys.stdin.readline()
one()
for thread in threads: thread.join()
print(sum(p.is_probe for p in permits), sum(p.is_allowed for p in permits))
"""


@pytest.fixture
def processes(engines: TestEngines) -> Iterator[list[subprocess.Popen[str]]]:
    """Two processes of eight threads that ask once they are told to."""
    running = [
        subprocess.Popen(
            [sys.executable, "-c", ASKING, NAME],
            env=engines.environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    yield running
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.django_db(transaction=True)
def test_one_thread_of_two_processes_probes(processes):
    opened()
    later(OPEN_S * 1.1)
    assert [p.stdout.readline() for p in processes] == ["ready\n"] * 2

    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()

    told = [process.stdout.readline().split() for process in processes]
    assert sorted(told) == [["0", "0"], ["1", "1"]]


# Without the database ----------------------------------------------------------------
def cut_off() -> None:
    """End this thread's connection from the other side, as a restart does."""
    with pytest.raises(OperationalError), connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


@pytest.fixture
def _closing_the_connection():
    yield
    connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_closing_the_connection")
def test_without_the_database_all_may_ask_and_it_is_told_once(caplog):
    ask(NAME)
    cut_off()
    breakers._cache.forget()

    assert ask(NAME) == ALLOWED
    failed(NAME)
    succeeded(NAME)
    hold_off(NAME, seconds=5)

    assert ask(NAME) == ALLOWED
    assert caplog.text.count("breakers are not heeded") == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.usefixtures("_closing_the_connection")
def test_what_was_known_holds_without_the_database():
    opened()
    cut_off()
    breakers._cache.forget()

    assert not ask(NAME).is_allowed


# Metrics ---------------------------------------------------------------------------
def test_scrape_tells_the_state():
    opened()

    page = APIClient().get("/metrics", REMOTE_ADDR="127.0.0.1").content.decode()

    assert f'octollm_breaker_state{{name="{NAME}",state="open"}} 1.0' in page
    assert f'octollm_breaker_state{{name="{NAME}",state="closed"}} 0.0' in page
