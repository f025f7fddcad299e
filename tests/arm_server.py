"""A real arm on a socket: ``python -m tests.arm_server --port N --store FILE``.

It does what the step's input says under ``does``: one word, or a list of which the nth
is for the nth time that the step is asked for, the last one for ever. The words are the
keys of ``DOES``. A wait ends when the file at the input's ``gate`` exists.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from random import Random
from typing import Any, Self

from tests.arm_store import Store

_ANY = {"type": "object"}
_OUTPUT = {"type": "object", "properties": {"value": {}, "request_id": {}}}


@dataclass(frozen=True, kw_only=True)
class Ways:
    """How the arm behaves whatever a step says.

    Attributes:
        has_store: whether it can say what it did; without, it does all it is asked.
        shares_store: whether it says that each instance can say it of all.
        fallback: the arm that may do its work while it is away.
        concurrency: how many steps it says that it takes at once.
        can_tell: whether it can say what a killed life of it left unfinished.
        token: what a caller must show.
        does: what a step gets that does not say.
        health: what it says of itself: a status, ``500``, ``rubbish``, ``silent``,
            ``drip`` or ``flood``.
        flaps_s: how long it is well, and then unwell, in turn; 0: always well.
        delay_s: how long each answer takes at least.
        faults: the share of steps whose first call fails in a way to recover from.
        seed: makes which ones those are repeatable.
    """

    name: str = "remote"
    version: str = "1"
    description: str = "Works elsewhere, for tests."
    has_store: bool = True
    shares_store: bool = False
    fallback: str = ""
    concurrency: int | None = None
    can_tell: bool = True
    is_repeatable: bool = False
    token: str = ""
    does: str = "answer"
    health: str = "healthy"
    flaps_s: float = 0.0
    delay_s: float = 0.0
    faults: float = 0.0
    seed: int = 0

    def entry(self) -> dict[str, Any]:
        """Return what the arm says of itself."""
        work = {"name": "work", "description": "Works.", "seconds": 0.1}
        return {
            "name": self.name,
            "version": self.version,
            "description": self.description,
            "capabilities": [work | {"input_schema": _ANY, "output_schema": _OUTPUT}],
            "sees": ["EMAIL", "PHONE"],
            "is_repeatable": self.is_repeatable,
            "has_store": self.has_store,
            "shares_store": self.shares_store,
            "fallback": self.fallback,
            "concurrency": self.concurrency,
        }


class _Handler(BaseHTTPRequestHandler):
    server: ArmServer
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        arm = self.server
        if self.path == "/health":
            self._show_health("500" if arm.is_unwell else arm.ways.health)
        elif not self._is_known_caller():
            self.answer(401, {"code": "unauthorized", "detail": "Who are you?"})
        elif self.path == "/":
            self.answer(200, arm.ways.entry())
        elif self.path.startswith("/executions/") and arm.ways.has_store:
            self._show(arm.store.find(self.path.removeprefix("/executions/")))
        else:
            self.answer(404, {"code": "not_found", "detail": "There is no such page."})

    def do_POST(self) -> None:
        arm = self.server
        body = self.rfile.read(self._length())
        if not self._is_known_caller():
            self.answer(401, {"code": "unauthorized", "detail": "Who are you?"})
            return
        if fault := self._take_in(body):
            self.answer(422, {"code": "invalid", "detail": fault})
            return
        time.sleep(arm.ways.delay_s)
        does = "fail" if arm.is_unwell else arm.does_for(self.request_json)
        arm.store.note_call(self.request_json, does)
        DOES[does](self)

    def finish(self) -> None:
        super().finish()
        self.server.store.close()

    # What the ways of answering are made of ----------------------------------------
    def begin(self) -> bool:
        """Take the request on; answer it here if it was taken on before."""
        if not self.server.ways.has_store:
            return True
        state, reply = self.server.store.begin(self.request_json, self.reply())
        if state == "done":
            self.answer(200, reply)
        elif state == "running":
            self.answer(202, {"state": "running"})
        elif state == "failed":
            self.answer(500, {"code": "failed", "detail": "It was interrupted."})
        return state == "new"

    def effect(self) -> None:
        self.server.store.note_effect(self.request_json)

    def done(self) -> None:
        self.server.store.finish(self.request_json)

    def reply(self) -> dict[str, Any]:
        asked = self.request_json
        return {
            "output": {
                "value": asked["input"].get("value"),
                "request_id": asked["request_id"],
            },
            "confidence": 1.0,
            "confidence_reason": "an echo is exact",
        }

    def wait(self, *, at_most_s: float = float("inf")) -> None:
        """Wait for the gate, whether the caller is still there or not."""
        gate = self.request_json["input"].get("gate")
        deadline = time.monotonic() + at_most_s
        is_there = True
        while time.monotonic() < deadline and not (gate and Path(gate).exists()):
            if is_there and self._has_left(within_s=0.01):
                self.server.store.note_departure(self.request_json)
                is_there = False
            elif not is_there:
                time.sleep(0.01)

    def answer(self, status: int, body: Any) -> None:
        self.send(status, json.dumps(body).encode())

    def send(
        self, status: int, body: bytes, *, length: int | None = None, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def cut(self) -> None:
        """Reset the connection."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Say nothing: the store has it."""

    def _show_health(self, status: str) -> None:
        self.server.was_asked.set()
        if status == "silent":
            self.server.is_closing.wait(30)
        elif status == "500":
            self.answer(500, {"status": "healthy"})
        elif status == "rubbish":
            self.send(200, b"<html>")
        elif status in ("drip", "flood"):
            self._show_for_ever(is_slow=status == "drip")
        else:
            self.answer(200, {"status": status})

    def _show_for_ever(self, *, is_slow: bool) -> None:
        self.send(200, b"", length=10**12)
        with contextlib.suppress(OSError):
            while not self.server.is_closing.wait(0.05 if is_slow else 0):
                self.wfile.write(b" " * (1 if is_slow else 65_536))

    def _show(self, found: tuple[str, Any] | None) -> None:
        if found is None:
            self.answer(404, {"state": "unknown"})
        elif found[0] == "done":
            self.answer(200, {"state": "done", "reply": found[1]})
        else:
            self.answer(200, {"state": found[0], "detail": "It was interrupted."})

    def _take_in(self, body: bytes) -> str:
        """Read a request; say what is wrong with it."""
        try:
            self.request_json = json.loads(body)
        except ValueError:
            return "It is no JSON."
        asked = self.request_json
        if not isinstance(asked, dict) or not isinstance(asked.get("input"), dict):
            return "There is no input."
        is_known = asked["capability"] == "work"
        return "" if is_known else "There is no such capability."

    def _length(self) -> int:
        return int(self.headers.get("Content-Length", 0))

    def _is_known_caller(self) -> bool:
        token = self.server.ways.token
        return not token or self.headers.get("Authorization") == f"Bearer {token}"

    def _has_left(self, *, within_s: float) -> bool:
        readable, _, _ = select.select([self.connection], [], [], within_s)
        if not readable:
            return False
        with contextlib.suppress(OSError):
            return not self.connection.recv(1, socket.MSG_PEEK)
        return True


class ArmServer(ThreadingHTTPServer):
    """The arm; within a test's own process a context that serves from a thread."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, store: Path, *, port: int = 0, ways: Ways | None = None) -> None:
        """Bind the port, a free one when 0."""
        self.ways = ways or Ways()
        self.store = Store(store, can_tell=self.ways.can_tell)
        self.is_closing = threading.Event()
        self.was_asked = threading.Event()
        super().__init__(("127.0.0.1", port), _Handler)

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def is_unwell(self) -> bool:
        """Whether it is in the bad half of its flapping."""
        flaps_s = self.ways.flaps_s
        return bool(flaps_s) and time.monotonic() % (2 * flaps_s) >= flaps_s

    def does_for(self, request: Any) -> str:
        """Return the word for what to do with this request."""
        nth = self.store.count_calls(request)
        given = request["input"].get("does")
        if given is None:
            return self._fault(request) if nth == 0 else self.ways.does
        words = given if isinstance(given, list) else [given]
        return str(words[min(nth, len(words) - 1)])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Callers leave early on purpose here."""

    def __enter__(self) -> Self:
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True
        ).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.is_closing.set()
        self.shutdown()
        self.server_close()
        self.store.close()

    def _fault(self, request: Any) -> str:
        step = f"{self.ways.seed}:{request['task_id']}:{request['step_id']}"
        chance = Random(step)  # noqa: S311  # no secret
        is_hit = chance.random() < self.ways.faults
        return chance.choice(PASSING) if is_hit else self.ways.does


# What the arm can do -----------------------------------------------------------------
def _answer(to: _Handler) -> None:
    """Do the work and answer."""
    if to.begin():
        to.effect()
        to.done()
        to.answer(200, to.reply())


def _hang_before(to: _Handler) -> None:
    """Wait, then do the work."""
    if to.begin():
        to.wait()
        to.effect()
        to.done()
        to.answer(200, to.reply())


def _hang_after(to: _Handler) -> None:
    """Do the work, and wait before storing that it is done."""
    if to.begin():
        to.effect()
        to.wait()
        to.done()
        to.answer(200, to.reply())


def _slow(to: _Handler) -> None:
    """Take ``seconds`` before the work."""
    if to.begin():
        to.wait(at_most_s=float(to.request_json["input"].get("seconds", 0.5)))
        to.effect()
        to.done()
        to.answer(200, to.reply())


def _background(to: _Handler) -> None:
    """Answer that it is taken on, and do it in ``seconds``."""
    if to.begin():
        to.answer(202, {"state": "running"})
        time.sleep(float(to.request_json["input"].get("seconds", 0.5)))
        to.effect()
        to.done()


def _lose_reply(to: _Handler) -> None:
    """Do the work and cut the connection."""
    if to.begin():
        to.effect()
        to.done()
        to.cut()


def _lose_request(to: _Handler) -> None:
    """Cut the connection, having done nothing."""
    to.cut()


def _fail(to: _Handler) -> None:
    """Answer 500, having done nothing."""
    if to.begin():
        to.server.store.forget(to.request_json)
        to.answer(500, {"code": "failed", "detail": "It failed."})


def _fail_after(to: _Handler) -> None:
    """Do the work and answer 502, as a gateway in front of it."""
    if to.begin():
        to.effect()
        to.done()
        to.send(502, b"<html>Bad gateway</html>")


def _decline(to: _Handler) -> None:
    """Answer that nothing is taken on just now."""
    to.answer(503, {"code": "not_accepted", "detail": "Too much to do."})


def _hold_off(to: _Handler) -> None:
    """Answer that nothing is taken on for half a minute."""
    body = {"code": "not_accepted", "detail": "Too much to do."}
    to.send(503, json.dumps(body).encode(), Retry_After="30")


def _refuse(to: _Handler) -> None:
    """Answer that the input is wrong."""
    to.answer(422, {"code": "bad_input", "detail": "There is no value."})


def _babble(to: _Handler) -> None:
    """Do the work and answer rubbish."""
    if to.begin():
        to.effect()
        to.done()
        to.send(200, b'{"output": 7')


def _drip(to: _Handler) -> None:
    """Do the work and answer a byte now and then."""
    if to.begin():
        to.effect()
        to.send(200, b"", length=10_000)
        while True:
            to.wait(at_most_s=0.05)
            to.wfile.write(b" ")


def _flood(to: _Handler) -> None:
    """Do the work and answer without end."""
    if to.begin():
        to.effect()
        to.send(200, b"", length=10**12)
        while True:
            to.wfile.write(b" " * 65_536)


def _die_before(to: _Handler) -> None:
    """Take the request on and die."""
    if to.begin():
        os.kill(os.getpid(), signal.SIGKILL)


def _die_after(to: _Handler) -> None:
    """Do the work and die."""
    if to.begin():
        to.effect()
        os.kill(os.getpid(), signal.SIGKILL)


DOES: dict[str, Callable[[_Handler], None]] = {
    "answer": _answer,
    "hang_before": _hang_before,
    "hang_after": _hang_after,
    "slow": _slow,
    "background": _background,
    "lose_reply": _lose_reply,
    "lose_request": _lose_request,
    "fail": _fail,
    "fail_after": _fail_after,
    "decline": _decline,
    "hold_off": _hold_off,
    "refuse": _refuse,
    "babble": _babble,
    "drip": _drip,
    "flood": _flood,
    "die_before": _die_before,
    "die_after": _die_after,
}
# After these the step can still be done, and once.
PASSING = (
    *("slow", "background", "lose_reply", "lose_request", "fail", "fail_after"),
    "decline",
)


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--name", default=Ways.name)
    parser.add_argument("--no-store", dest="has_store", action="store_false")
    parser.add_argument("--cannot-tell", dest="can_tell", action="store_false")
    parser.add_argument("--repeatable", dest="is_repeatable", action="store_true")
    parser.add_argument("--token", default="")
    parser.add_argument("--does", default=Ways.does, choices=DOES)
    parser.add_argument("--flaps-s", type=float, default=0.0)
    parser.add_argument("--delay-s", type=float, default=0.0)
    parser.add_argument("--faults", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args())
    port, store = given.pop("port"), given.pop("store")
    ArmServer(store, port=port, ways=Ways(**given)).serve_forever(0.1)


if __name__ == "__main__":
    main()
