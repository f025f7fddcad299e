"""What the queue and its workers are told: retries, time limits, prefetch."""

from __future__ import annotations

from typing import Any

import dramatiq
import pytest
from dramatiq.middleware import Retries, TimeLimit

from octollm.programs import WORKER_QUEUES, worker_command, worker_environment
from tasks_app.actors import look_default, look_sandbox
from tasks_app.hints import ACTORS


@pytest.mark.parametrize("actor", [look_default, look_sandbox])
def test_actor_is_neither_retried_nor_timed(actor):
    assert ACTORS[actor.queue_name] == actor.actor_name
    assert actor.options["max_retries"] == 0
    assert actor.options["time_limit"] == float("inf")


def test_no_middleware_keeps_a_second_record_of_tasks():
    kinds = {type(each).__name__ for each in dramatiq.get_broker().middleware}

    assert kinds.isdisjoint({"AdminMiddleware", "Prometheus"})
    assert {Retries.__name__, TimeLimit.__name__, "WorkerMiddleware"} <= kinds


def test_messages_of_a_killed_worker_come_back_within_half_a_minute():
    broker: Any = dramatiq.get_broker()

    assert broker.heartbeat_timeout <= 30_000
    assert broker.maintenance_chance == 100_000


def test_workers_serve_every_queue_that_has_an_actor():
    assert set(WORKER_QUEUES) == set(ACTORS)


def test_worker_is_one_process_that_takes_as_many_messages_as_it_has_threads():
    command = worker_command(queues=["sandbox"], threads=3)

    assert {"--processes=1", "--threads=3"} <= set(command)
    assert command[-2:] == ["--queues", "sandbox"]
    assert worker_environment(threads=3) == {
        "dramatiq_worker_timeout": "100",
        "dramatiq_queue_prefetch": "3",
    }


@pytest.mark.parametrize(("seconds", "option"), [("", "20000"), ("6", "6000")])
def test_worker_waits_for_its_threads_as_long_as_the_setting_says(
    seconds: str, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OCTOLLM_SHUTDOWN_S", seconds)

    assert f"--worker-shutdown-timeout={option}" in worker_command()
