"""What only a real socket shows: bodies without a length, and several processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from octollm.embedded.processes import kill_group, spawn
from octollm.embedded.up import free_port
from octollm.programs import web_command
from tests.waiting import wait_until

JSON = "Content-Type: application/json"


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Serve with two processes; no engine is needed, so none is started."""
    home = tmp_path_factory.mktemp("server")
    (home / "prom").mkdir()
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "tests.octollm.server_settings",
        "PYTHONPATH": str(Path(__file__).resolve().parents[2]),
        "PROMETHEUS_MULTIPROC_DIR": str(home / "prom"),
    }
    number = free_port("127.0.0.1", 0)
    process = spawn(
        web_command(host="127.0.0.1", port=number, threads=2),
        environment=environment,
        log=home / "web.log",
    )
    try:
        wait_until(lambda: is_served(number), timeout_s=60)
        yield number
    finally:
        kill_group(process)


def is_served(port: int) -> bool:
    with contextlib.suppress(OSError):
        return talk(port, "GET", "/health")[0] == 200
    return False


def talk(
    port: int, method: str, path: str, *headers: str, body: bytes = b""
) -> tuple[int, dict[str, str], bytes]:
    """Send exactly these bytes on a connection of their own; read the answer."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    head = "\r\n".join([*lines, "Connection: close", "", ""]).encode()
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        # A server that refuses may stop reading before all is sent.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(head + body)
        return read_answer(connection)


def read_answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := connection.recv(65536):
            received += chunk
    head, _, body = received.partition(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    headers = dict(field.lower().split(": ", 1) for field in fields)
    return int(status.split(" ")[1]), headers, body


@pytest.mark.parametrize("path", ["/echo", "/raw", "/admin/login/", "/nowhere"])
def test_a_chunked_body_is_refused_everywhere(port: int, path: str) -> None:
    body = b'd\r\n{"goal": "g"}\r\n0\r\n\r\n'
    status, headers, answer = talk(
        port, "POST", path, JSON, "Transfer-Encoding: chunked", body=body
    )
    assert status == 411
    assert headers["content-type"] == "application/problem+json"
    assert json.loads(answer)["code"] == "length_required"


def test_a_length_beside_chunks_smuggles_nothing(port: int) -> None:
    status, _, _ = talk(
        port,
        "POST",
        "/echo",
        JSON,
        "Content-Length: 13",
        "Transfer-Encoding: chunked",
        body=b'd\r\n{"goal": "g"}\r\n0\r\n\r\n',
    )
    assert status in (400, 411)


def test_a_body_with_a_length_is_taken(port: int) -> None:
    body = b'{"goal": "g"}'
    status, _, answer = talk(
        port, "POST", "/echo", JSON, f"Content-Length: {len(body)}", body=body
    )
    assert (status, json.loads(answer)) == (200, {"goal": "g"})


def test_a_large_body_is_refused_before_it_is_sent(port: int) -> None:
    started = time.monotonic()
    # A length that would take forever to send; not a byte of it follows.
    status, _, answer = talk(
        port, "POST", "/echo", JSON, "Content-Length: 1000000000000"
    )
    assert status == 413
    assert json.loads(answer)["code"] == "body_too_large"
    assert time.monotonic() - started < 10


def test_ten_megabytes_are_refused_by_name(port: int) -> None:
    body = b'{"goal": "' + b"a" * 10 * 2**20 + b'"}'
    status, _, answer = talk(
        port, "POST", "/echo", JSON, f"Content-Length: {len(body)}", body=body
    )
    assert status == 413
    assert json.loads(answer)["code"] == "body_too_large"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, 400),
        (b"[" * 1_000_000, 400),
        (b'{"goal": "\\ud800"}', 400),
        (b'{"goal": "\x00"}', 400),
        (b'{"goal": "\\u0000"}', 400),
    ],
    ids=["deep", "deeper", "surrogate", "nul", "escaped nul"],
)
def test_hostile_bodies_leave_the_server_alive(
    port: int, body: bytes, status: int
) -> None:
    length = f"Content-Length: {len(body)}"
    answered, _, answer = talk(port, "POST", "/echo", JSON, length, body=body)
    assert (answered, json.loads(answer)["code"]) == (status, "malformed_json")
    assert is_served(port)


def test_a_caller_who_hangs_up_midway_harms_nobody(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.sendall(
            b"POST /echo HTTP/1.1\r\nHost: localhost\r\n"
            b"Content-Type: application/json\r\nContent-Length: 50\r\n\r\n{"
        )
    assert is_served(port)


def test_the_metrics_count_what_all_processes_served(port: int) -> None:
    def served() -> float:
        page = talk(port, "GET", "/metrics")[2].decode()
        name = 'octollm_http_requests_total{method="GET",route="root",status="2xx"}'
        found = re.search(re.escape(name) + r" (\d+\.\d)", page)
        return float(found.group(1)) if found else 0.0

    before = served()
    for _ in range(40):
        assert talk(port, "GET", "/")[0] == 200
    # Whichever process answers, however often it is asked.
    assert {served() for _ in range(10)} == {before + 40}


def test_ready_says_no_without_engines_and_does_not_hang(port: int) -> None:
    started = time.monotonic()
    status, _, answer = talk(port, "GET", "/ready")
    assert status == 503
    failed = {c["name"] for c in json.loads(answer)["checks"] if c["status"] != "ok"}
    assert failed >= {"database", "migrations", "redis"}
    assert time.monotonic() - started < 10


def test_a_database_that_is_away_is_a_503(port: int) -> None:
    status, _, answer = talk(
        port, "GET", "/who", f"Authorization: Bearer octo_{'A' * 43}"
    )
    assert (status, json.loads(answer)["code"]) == (503, "database_unavailable")


@pytest.mark.parametrize("path", ["/docs", "/who", "/admin/"])
def test_a_database_that_is_away_is_told_to_a_browser_with_a_session(
    port: int, path: str
) -> None:
    session = f"Cookie: sessionid={'a' * 32}"
    status, _, answer = talk(port, "GET", path, "Accept: text/html", session)
    assert status == 503
    assert b"database_unavailable" in answer


@pytest.mark.parametrize("path", ["/docs", "/who"])
def test_a_browser_is_sent_to_log_in_even_then(port: int, path: str) -> None:
    status, headers, _ = talk(port, "GET", path, "Accept: text/html")
    assert status == 302
    assert headers["location"] == f"/admin/login/?next={path}"


def test_the_icon_is_served(port: int) -> None:
    status, headers, _ = talk(port, "GET", "/static/octollm/icon.svg")
    assert status == 200
    assert headers["content-type"] == "image/svg+xml"


def test_the_files_of_pages_are_served(port: int) -> None:
    base = "/static/drf_spectacular_sidecar/swagger-ui-dist"
    for name in ("swagger-ui.css", "swagger-ui-bundle.js", "favicon-32x32.png"):
        assert talk(port, "GET", f"{base}/{name}")[0] == 200
