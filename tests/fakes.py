"""Servers on a real socket with scripted replies; nothing internal is patched."""

from __future__ import annotations

import contextlib
import itertools
import json
import select
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from tests import leaks

Answer = Callable[["_Handler"], None]

_numbers = itertools.count(1)


def completion(
    text: Any = "ok",
    *,
    finish_reason: str | None = "stop",
    usage: Any = ...,
    **message: Any,
) -> Answer:
    """Answer with one choice; ``usage`` None leaves it out."""
    counted = {"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 150}
    body = {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "fake-model",
        "choices": [
            {
                "index": 0,
                "finish_reason": finish_reason,
                "message": {"role": "assistant", "content": text, **message},
            }
        ],
        "usage": counted if usage is ... else usage,
    }
    if usage is None:
        del body["usage"]
    return raw(json.dumps(body))


def without_choices() -> Answer:
    """Answer with a completion that holds no choice."""
    body = {"id": "x", "object": "chat.completion", "created": 1, "model": "fake-model"}
    return raw(json.dumps(body | {"choices": [], "usage": None}))


def error(status: int, message: str = "no", **headers: str) -> Answer:
    """Answer with an error of that status; header names use _ for -."""
    body = json.dumps({"error": {"message": message, "type": "fake", "code": None}})
    return raw(body, status=status, **headers)


def html(status: int = 200) -> Answer:
    """Answer like a proxy's login page."""
    return raw("<html><body>Sign in</body></html>", status=status, type_="text/html")


def raw(
    body: str | bytes,
    *,
    status: int = 200,
    type_: str = "application/json",
    **headers: str,
) -> Answer:
    """Answer with exactly this body."""
    sent = body.encode() if isinstance(body, str) else body

    def send(handler: _Handler) -> None:
        handler.begin(status, type_, len(sent), headers)
        handler.wfile.write(sent)

    return send


def endless(sent: list[int], *, piece: bytes = b" " * 65_536) -> Answer:
    """Answer 200 and never stop; ``sent`` gets the size of each piece that went out."""

    def send(handler: _Handler) -> None:
        handler.begin(200, "application/json", None, {})
        while not handler.peer_left(within_s=0):
            handler.wfile.write(piece)
            sent.append(len(piece))

    return send


def drip(body: str = " " * 10_000, *, every_s: float = 0.02) -> Answer:
    """Answer 200 and then one byte at a time, until the caller is gone."""

    def send(handler: _Handler) -> None:
        handler.begin(200, "application/json", len(body), {})
        for byte in body.encode():
            if handler.peer_left(within_s=every_s):
                return
            handler.wfile.write(bytes((byte,)))
            handler.wfile.flush()

    return send


def hang() -> Answer:
    """Say nothing until the caller is gone or the server stops."""

    def wait(handler: _Handler) -> None:
        while not handler.peer_left(within_s=0.02):
            pass

    return wait


def slow(seconds: float, answer: Answer) -> Answer:
    """Give ``answer`` after that many seconds, as a slow model does."""

    def wait(handler: _Handler) -> None:
        if not handler.peer_left(within_s=seconds):
            answer(handler)

    return wait


def reset() -> Answer:
    """Take the request, then reset the connection."""

    def cut(handler: _Handler) -> None:
        linger = struct.pack("ii", 1, 0)
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        handler.connection.close()

    return cut


@dataclass(frozen=True, kw_only=True)
class Received:
    """One request that reached the fake."""

    path: str
    headers: dict[str, str]
    body: Any
    text: str


@dataclass
class FakeModel:
    """An OpenAI-compatible chat completions server.

    Attributes:
        script: answers in order; when it is empty, ``default`` is given.
        requests: what arrived, in order.
        unsupported: statuses to answer response formats with, by their type.
        closed: moments (monotonic) at which a caller left before its answer ended.
        expects_leaks: whether a test sends on purpose what must not be sent.
        leaks: what arrived and must not have, one phrase each; ``stop`` raises if
            there is anything.
    """

    script: deque[Answer] = field(default_factory=deque)
    default: Answer = field(default_factory=completion)
    requests: list[Received] = field(default_factory=list)
    unsupported: dict[str, Answer] = field(default_factory=dict)
    closed: list[float] = field(default_factory=list)
    is_stopping: threading.Event = field(default_factory=threading.Event)
    expects_leaks: bool = False
    leaks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._number = next(_numbers)
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), _Handler)
        self._server.model = self
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def base_url(self) -> str:
        """What ``OCTOLLM_LLM_BASE_URL`` is set to; no two fakes of a run share one."""
        # What is learnt about an address outlives a test, and a port comes again.
        port = self._server.server_address[1]
        return f"http://127.0.0.1:{port}/{self._number}/v1"

    @property
    def sent_text(self) -> str:
        """Everything that ever arrived here, to look for what must not."""
        return "\n".join(received.text for received in self.requests)

    def will(self, *answers: Answer) -> None:
        """Append answers to the script."""
        self.script.extend(answers)

    def take(self, received: Received) -> Answer:
        """Note a request and return what to answer it with."""
        found = leaks.leaks_in_request(received.path, received.headers, received.text)
        with self._lock:
            self.requests.append(received)
            self.leaks.extend(found)
            wanted = received.body.get("response_format") or {}
            refusal = self.unsupported.get(wanted.get("type", "text"))
            if refusal is not None:
                return refusal
            return self.script.popleft() if self.script else self.default

    def stop(self) -> None:
        """Close the socket, end every answer, and look at what had arrived.

        Raises:
            LeakError: something that must not leave the system was in a request.
        """
        self.is_stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)
        if not self.expects_leaks:
            leaks.refuse(self.leaks)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True
    model: FakeModel

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers leave early on purpose here."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    # Without Keep-Alive a stopped server has no idle connection to wait for.
    protocol_version = "HTTP/1.0"

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        text = self.rfile.read(length).decode()
        received = Received(
            path=self.path,
            headers={name.lower(): value for name, value in self.headers.items()},
            body=json.loads(text),
            text=text,
        )
        self.server.model.take(received)(self)

    def begin(
        self, status: int, type_: str, length: int | None, headers: dict[str, str]
    ) -> None:
        self.send_response(status)
        self.send_header("Content-Type", type_)
        if length is not None:
            self.send_header("Content-Length", str(length))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()

    def peer_left(self, *, within_s: float) -> bool:
        """Wait for the caller to leave or the server to stop; False when time is up."""
        deadline = time.monotonic() + within_s
        while not self.server.model.is_stopping.is_set():
            pause = min(0.05, max(0.0, deadline - time.monotonic()))
            readable, _, _ = select.select([self.connection], [], [], pause)
            if readable and self._is_closed():
                self.server.model.closed.append(time.monotonic())
                return True
            if time.monotonic() >= deadline:
                return False
        return True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the requests are in the fake's log."""

    def _is_closed(self) -> bool:
        with contextlib.suppress(OSError):
            return not self.connection.recv(1, socket.MSG_PEEK)
        return True
