"""One HTTP request to another service and its whole answer, by the wall clock.

A connection serves one request: an idle one that the other side closes just then
would look like a lost answer.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import httpx2

from octollm.errors import DeadlineExceededError
from octollm.resilience import outbound
from octollm.resilience.deadline import StopToken

CONNECT_TIMEOUT_S = 5.0


class ExchangeError(Exception):
    """No whole answer came; the text says why and holds nothing of the request."""


class AnswerTooLongError(ExchangeError):
    """More came than was to be taken."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back; names of headers are in lower case."""

    status: int
    body: bytes
    headers: Mapping[str, str]

    @property
    def hold_off_s(self) -> float:
        """How long the other side wants to be left alone; a date is not understood."""
        try:
            return max(0.0, float(self.headers.get("retry-after", "")))
        except ValueError:
            return 0.0


def exchange(
    url: str,
    *,
    stop: StopToken,
    max_bytes: int,
    content: bytes | None = None,
    token: str = "",
) -> Answer:
    """POST JSON, or GET if there is no ``content``, and return the answer.

    Raises:
        ExchangeError: none came, or one longer than ``max_bytes``.
        DeadlineExceededError: the time of ``stop`` is over.
        CallCancelledError: somebody asked to stop.
    """
    fetching = fetch(url, max_bytes=max_bytes, content=content, token=token)
    try:
        return outbound.run(fetching, stop=stop)
    except httpx2.TimeoutException as error:
        if stop.remaining_s <= 0:
            raise DeadlineExceededError from error
        raise ExchangeError("it could not be reached in time") from error
    except httpx2.ConnectError as error:
        raise ExchangeError("it could not be reached") from error
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        raise ExchangeError("it broke the connection") from error


async def fetch(
    url: str,
    *,
    max_bytes: int,
    content: bytes | None = None,
    token: str = "",
    traceparent: str = "",
) -> Answer:
    """POST JSON, or GET if there is no ``content``; for callers on the outbound loop.

    Raises:
        AnswerTooLongError: the answer is longer than ``max_bytes``.
        RequestError: there is none.
    """
    # Nothing compressed is asked for, and nothing is unpacked: a little of it could
    # be a lot.
    headers = {"Accept": "application/json", "Accept-Encoding": "identity"}
    if content is not None:
        headers["Content-Type"] = "application/json"
    if token:
        headers["Authorization"] = f"Bearer {token}"
    if traceparent:
        headers["traceparent"] = traceparent
    method = "GET" if content is None else "POST"
    body = bytearray()
    async with (
        _client() as client,
        client.stream(method, url, content=content, headers=headers) as response,
    ):
        async for part in response.aiter_raw():
            body += part
            if len(body) > max_bytes:
                raise AnswerTooLongError(f"it sends more than {max_bytes} bytes")
        return Answer(
            status=response.status_code,
            body=bytes(body),
            headers={name.lower(): text for name, text in response.headers.items()},
        )


def _client() -> httpx2.AsyncClient:
    """Return a client for one request; it is cheap but for what is kept here."""
    return httpx2.AsyncClient(
        # Our own clock ends a request; this one only gives up early on a dead address.
        timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
        # A redirect would carry the request to an address nobody configured.
        follow_redirects=False,
        transport=httpx2.AsyncHTTPTransport(
            verify=_tls(), socket_options=_keeping_alive()
        ),
    )


@cache
def _tls() -> Any:
    # Reading the certificates takes most of a tenth of a second.
    return httpx2.create_ssl_context()


@cache
def _keeping_alive() -> list[tuple[int, int, int]]:
    """Notice within half a minute that the other machine is gone: it says nothing."""
    wanted = {"TCP_KEEPIDLE": 15, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 3}
    return [(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)] + [
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in wanted.items()
        if hasattr(socket, name)
    ]
