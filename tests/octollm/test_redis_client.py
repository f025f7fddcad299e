"""The one client of Redis: its answers, its patience and what it survives."""

from __future__ import annotations

import socket
from typing import Any

import pytest
from redis.exceptions import TimeoutError as RedisTimeoutError

from octollm.resilience.redis_client import client


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
