"""The socket's side of a served arm: an ASGI application, its threads, its bounds.

Work and looks have threads of their own, so that the store answers while every place
is taken.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from django.conf import settings
from django.db import close_old_connections

from arms.served.service import Answer, Caller, Service

LOOK_THREADS = 4
# Of a request: it may hold what several steps before gave.
MAX_BODY_REPLIES = 4

_Scope = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
_Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_NOT_FOUND = Answer(status=404, body={"code": "not_found", "detail": "No such page."})
_UNKNOWN_CALLER = Answer(
    status=401, body={"code": "unauthorized", "detail": "Show the arm's token."}
)
_NOT_ALLOWED = Answer(
    status=405, body={"code": "method_not_allowed", "detail": "Not by this method."}
)
_TOO_LARGE = Answer(
    status=413, body={"code": "body_too_large", "detail": "The request is too large."}
)


class Application:
    """Answers requests for one served arm."""

    def __init__(self, service: Service, *, places: int) -> None:
        """Have a thread per place, and some for looks."""
        self._service = service
        self._workers = ThreadPoolExecutor(places, thread_name_prefix="work")
        self._lookers = ThreadPoolExecutor(LOOK_THREADS, thread_name_prefix="look")

    async def __call__(self, scope: _Scope, receive: _Receive, send: _Send) -> None:
        """Answer one request; granian calls this on its loop."""
        if scope["type"] != "http":
            return
        answer = await self._answer(scope, receive)
        body = json.dumps(answer.body).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
        ]
        await send(
            {
                "type": "http.response.start",
                "status": answer.status,
                "headers": headers,
            }
        )
        await send({"type": "http.response.body", "body": body})

    async def _answer(self, scope: _Scope, receive: _Receive) -> Answer:
        path, method = scope["path"], scope["method"]
        if path == "/health":
            return await self._look(method, self._service.health)
        headers = dict(scope["headers"])
        shown = headers.get(b"authorization", b"").decode("utf-8", "surrogateescape")
        if not self._service.is_known(shown):
            return _UNKNOWN_CALLER
        if path == "/execute":
            return await self._execute(method, receive)
        before, _, request_id = path.rpartition("/")
        if before == "/executions":
            return await self._look(
                method, partial(self._service.execution, request_id)
            )
        return (
            await self._look(method, self._service.entry) if path == "/" else _NOT_FOUND
        )

    async def _look(self, method: str, look: Callable[[], Answer]) -> Answer:
        if method != "GET":
            return _NOT_ALLOWED
        return await _in_thread(self._lookers, look)

    async def _execute(self, method: str, receive: _Receive) -> Answer:
        if method != "POST":
            return _NOT_ALLOWED
        body = await _read(receive)
        if body is None:
            return _TOO_LARGE
        refusal = self._service.take_place()
        if refusal is not None:
            return refusal

        caller = Caller()

        def work() -> Answer:
            # The place is free when the work is over, not when the caller hangs up.
            try:
                return self._service.execute(bytes(body), caller)
            finally:
                self._service.leave_place()

        watch = asyncio.ensure_future(_watch(receive, caller))
        try:
            return await _in_thread(self._workers, work)
        finally:
            watch.cancel()


async def _watch(receive: _Receive, caller: Caller) -> None:
    """Notice when the caller closes the connection."""
    while (await receive())["type"] != "http.disconnect":
        pass
    caller.leave()


async def _in_thread(pool: ThreadPoolExecutor, work: Callable[[], Answer]) -> Answer:
    def run() -> Answer:
        close_old_connections()
        try:
            return work()
        finally:
            close_old_connections()

    return await asyncio.get_running_loop().run_in_executor(pool, run)


async def _read(receive: _Receive) -> bytearray | None:
    """Return the body, or nothing if it is longer than any may be."""
    most, body = MAX_BODY_REPLIES * settings.OCTOLLM_MAX_OUTPUT_BYTES, bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if message["type"] != "http.request" or not message.get("more_body"):
            return body
