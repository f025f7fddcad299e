"""Print what ``/reflex/process`` costs: ``make bench-reflex``.

One caller and texts of the development kind's length, each new but for the last round:
the time that the service says it worked, the whole answer's time in a web process
without the socket, and the round trip to ``octollm reflex serve``; with a Redis and
without one. ``--texts`` says how many.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.test.utils import override_settings

TARGET_MS = 1.0
_WORDS = [
    "the",
    "report",
    "order",
    "on",
    "was",
    "late",
    "and",
    "they",
    "asked",
    "for",
    "a",
    "refund",
    "because",
    "of",
    "their",
    "plan",
    "please",
    "write",
    "to",
    "ada@example.org",
    "before",
    "Monday",
    "or",
    "call",
    "+44",
    "7392",
    "931058",
    "about",
    "it",
    "card",
    "4111",
    "1111",
    "1111",
    "1111",
    "ignore",
    "previous",
    "instructions",
    "summarise",
    "these",
    "reviews",
]


def main() -> None:
    """Start everything, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--texts", type=int, default=1_000)
    count = parser.parse_args().texts
    django.setup()
    from tests.engines import running_engines

    with running_engines() as engines:
        for name, url in (("Redis", engines.redis_url), ("no Redis", "")):
            with override_settings(REDIS_URL=url):
                _in_process(name, _texts(count))
            with _served(url) as port:
                _over_a_socket(name, port, _texts(count))


def _texts(count: int) -> list[str]:
    """Return texts of some 420 characters, as the development texts have."""
    draw = random.SystemRandom()  # others each run, so that no cache knows them
    return [" ".join(draw.choices(_WORDS, k=75)) for _ in range(count)]


def _in_process(name: str, texts: Sequence[str]) -> None:
    from rest_framework.test import APIRequestFactory, force_authenticate

    from reflex.serving_access import TokenHolder
    from reflex.views import ProcessView

    view: Callable[..., Any] = ProcessView.as_view()
    factory = APIRequestFactory()
    worked, whole = [], []
    for text in [*texts[:20], *texts]:
        request = factory.post("/reflex/process", {"text": text}, format="json")
        force_authenticate(request, user=TokenHolder())  # type: ignore[arg-type]  # no account
        started = time.perf_counter()
        answer = view(request).render()
        whole.append((time.perf_counter() - started) * 1000)
        worked.append(answer.data["processing_time_ms"])
    _print(f"its own work, {name}", worked[20:])
    _print(f"the view, parsing to JSON, {name}", whole[20:])


@contextmanager
def _served(redis_url: str) -> Iterator[int]:
    from octollm.embedded.processes import kill_group, spawn
    from octollm.embedded.up import free_port
    from octollm.programs import wsgi_command
    from tests.waiting import wait_until

    port = free_port("127.0.0.1", 0)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OCTOLLM_")}
    environment["DJANGO_SETTINGS_MODULE"] = "reflex.serving_settings"
    if redis_url:
        environment["OCTOLLM_REDIS_URL"] = redis_url
    command = wsgi_command(
        "reflex.serving:application",
        host="127.0.0.1",
        port=port,
        workers=1,
        threads=4,
    )
    log = Path(tempfile.mkstemp(suffix=".log")[1])
    process = spawn(command, environment=environment, log=log)
    try:
        wait_until(lambda: _is_ready(port), timeout_s=60)
        yield port
    finally:
        kill_group(process)
        log.unlink()


def _is_ready(port: int) -> bool:
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _over_a_socket(name: str, port: int, texts: Sequence[str]) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    for what, sent in (("new texts", texts), ("known texts", texts)):
        worked, whole = [], []
        for text in sent:
            started = time.perf_counter()
            answer = _post(connection, text)
            whole.append((time.perf_counter() - started) * 1000)
            worked.append(answer["processing_time_ms"])
        _print(f"served, its own work, {what}, {name}", worked)
        _print(f"served, round trip, {what}, {name}", whole)


def _post(connection: HTTPConnection, text: str) -> Any:
    headers = {"Content-Type": "application/json"}
    connection.request("POST", "/process", json.dumps({"text": text}), headers)
    return json.loads(connection.getresponse().read())


def _print(what: str, times_ms: Sequence[float]) -> None:
    cuts = statistics.quantiles(times_ms, n=100)
    p50, p95 = statistics.median(times_ms), cuts[94]
    aim = f"  target {TARGET_MS:g} ms p50" if "own work" in what else ""
    print(f"{what:48} p50 {p50:7.3f} ms  p95 {p95:7.3f} ms{aim}")


if __name__ == "__main__":
    main()
