"""The one client of Redis: its answers, its patience and what it survives."""

from __future__ import annotations

import socket
import time
from typing import Any

import pytest
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as RedisTimeoutError

from octollm.resilience import redis_client
from octollm.resilience.redis_client import client, sparing


def test_process_has_one_client_whose_answers_are_text(engines):
    client().set("tests:text", "grün", ex=60)

    assert client() is client()
    assert client().get("tests:text") == "grün"


def test_client_goes_on_after_the_server_dropped_its_connection(engines):
    dropped = client().client_id()
    client().client_kill_filter(_id=str(dropped), skipme=False)

    assert client().client_id() != dropped


def test_server_that_hangs_is_asked_once(settings: Any):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.REDIS_URL = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

        with pytest.raises(RedisTimeoutError):
            client().ping()

        listener.setblocking(False)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_server_that_failed_is_left_alone_by_those_who_can_do_without(settings: Any):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        settings.REDIS_URL = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"

        with pytest.raises(RedisTimeoutError):
            sparing().ping()
        for _ in range(20):
            with pytest.raises(RedisError, match="left alone"):
                sparing()

        listener.setblocking(False)
        listener.accept()[0].close()
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_server_is_asked_again_once_it_answers_somebody(engines, settings: Any):
    settings.REDIS_URL = f"{engines.redis_url}&client_name=tests"
    redis_client._client(settings.REDIS_URL).failed_at = time.monotonic()
    with pytest.raises(RedisConnectionError):
        sparing()

    client().ping()

    assert sparing().ping()


def test_outage_is_told_once(settings: Any, caplog):
    settings.REDIS_URL = "unix:///nonexistent/told-once.sock"

    for _ in range(3):
        with pytest.raises(RedisConnectionError):
            client().ping()

    assert caplog.text.count("Redis is away") == 1
