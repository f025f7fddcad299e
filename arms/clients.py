"""The client library, held to one address, one key and a bounded answer.

Importing this takes about a second, so only what sends a request does.
"""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator
from typing import Any

import httpx2
from openai import AsyncOpenAI, DefaultAsyncHttpx2Client, Timeout

from arms.providers import Provider
from octollm.resilience import outbound
from octollm.types import JSONObject

CONNECT_TIMEOUT_S = 5.0
# No answer is nearly as long; a server could send without end.
MAX_ANSWER_BYTES = 8 * 2**20

_clients: dict[tuple[int, str, str], AsyncOpenAI] = {}
_clients_lock = threading.Lock()


class AnswerTooLargeError(httpx2.RequestError):
    """The server sent more than an answer can be."""


async def send(client: AsyncOpenAI, body: JSONObject) -> bytes:
    """Return the body of the server's answer.

    As bytes: the library would build its own values of it, for whatever a server
    sends, and hold up the loop for as long as that takes.

    Raises:
        OpenAIError: nothing came, or the server refused.
    """
    arguments: dict[str, Any] = dict(body)
    response = await client.chat.completions.with_raw_response.create(**arguments)
    content: bytes = response.content
    return content


def client_of(provider: Provider) -> AsyncOpenAI:
    """Return this process's client for the provider's address and key.

    A client per call would set up TLS anew each time; one from before a fork would
    share its sockets with the parent.
    """
    with _clients_lock:
        key = (os.getpid(), provider.base_url, provider.api_key)
        if key not in _clients:
            _clients[key] = _new_client(provider.base_url, provider.api_key)
            outbound.on_shutdown(_close_clients)
        return _clients[key]


def _new_client(base_url: str, api_key: str) -> AsyncOpenAI:
    # Our own clock ends a call; this one only gives up early on a dead address.
    timeout = Timeout(None, connect=CONNECT_TIMEOUT_S)
    client = AsyncOpenAI(
        base_url=base_url,
        # The library refuses an empty key; servers at home ignore it.
        api_key=api_key or "none",
        max_retries=0,
        timeout=timeout,
        http_client=DefaultAsyncHttpx2Client(
            timeout=timeout,
            # A redirect would carry the prompt to an address nobody configured.
            follow_redirects=False,
            headers={"Accept-Encoding": "identity"},
            event_hooks={"response": [_bound]},
        ),
    )
    # The library takes these from OPENAI_* in the environment for any address; what
    # is meant for one provider must not reach another.
    client.organization = client.project = client.admin_api_key = None
    client._custom_headers = {}
    return client


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends with an error when it is too long."""

    def __init__(self, stream: httpx2.AsyncByteStream) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > MAX_ANSWER_BYTES:
                raise AnswerTooLargeError(f"more than {MAX_ANSWER_BYTES} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _bound(response: httpx2.Response) -> None:
    # Nothing compressed was asked for, and a little of it could be a lot: unpacked
    # by nobody, it is an answer that cannot be read.
    response.headers.pop("content-encoding", None)
    if isinstance(response.stream, httpx2.AsyncByteStream):
        response.stream = _Bounded(response.stream)


async def _close_clients() -> None:
    with _clients_lock:
        clients = [each for key, each in _clients.items() if key[0] == os.getpid()]
        _clients.clear()
    for client in clients:
        await client.close()


def _forget_lock() -> None:
    # Another thread of the parent may have held it at the fork.
    global _clients_lock
    _clients_lock = threading.Lock()


os.register_at_fork(after_in_child=_forget_lock)
