"""What a run's callers are told, and a caller that asks again until it is told."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx2

TIMEOUT_S = 10.0
AGAIN_AFTER_S = 0.2


@dataclass
class Told:
    """What the callers were told; ``lock`` guards all of it.

    Attributes:
        accepted: the task's id by its number, from an answer with status 200.
        answers: how many answers had each status; 0 stands for none.
        repeats: submissions under a key that had been sent before.
        differing: keys that named one task first and another one later.
        refused: what was neither accepted nor worth to be sent again.
        obeyed: numbers of tasks by what their callers wished later: ``cancel``,
            ``approve``, ``reject`` or ``retry``, if that was answered 200.
        latencies: seconds to each accepting answer.
    """

    accepted: dict[int, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    repeats: int = 0
    differing: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    obeyed: dict[str, set[int]] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True, kw_only=True)
class Address:
    """Where the system is, and the caller's key."""

    base_url: str
    token: str

    def client(self) -> httpx2.Client:
        """Return a client of its own for a thread."""
        return httpx2.Client(
            base_url=self.base_url,
            headers={"Authorization": f"Bearer {self.token}"},
            timeout=TIMEOUT_S,
        )


class Caller:
    """One thread's caller; ask only within the context."""

    def __init__(self, address: Address, told: Told, stop: threading.Event) -> None:
        """Ask under ``address`` until ``stop`` is set."""
        self._client = address.client()
        self._told = told
        self._stop = stop

    def __enter__(self) -> Caller:
        """Open the client."""
        self._client.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        """Close it."""
        self._client.__exit__(*error)

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> httpx2.Response | None:
        """Ask until there is an answer worth to be taken; nothing after the stop."""
        while not self._stop.is_set():
            answer = self._try(method, path, body, headers or {})
            if answer is not None and not _is_worth_repeating(answer.status_code):
                return answer
            self._stop.wait(AGAIN_AFTER_S)
        return None

    def _try(
        self, method: str, path: str, body: Any, headers: Mapping[str, str]
    ) -> httpx2.Response | None:
        began, answer = time.monotonic(), None
        # Nobody may be there, or whoever was is killed meanwhile.
        with contextlib.suppress(httpx2.HTTPError):
            answer = self._client.request(method, path, json=body, headers=headers)
        status = 0 if answer is None else answer.status_code
        with self._told.lock:
            self._told.answers[status] += 1
            if path == "/submit" and status == 200:
                self._told.latencies.append(time.monotonic() - began)
        return answer


def _is_worth_repeating(status: int) -> bool:
    return status == 429 or status >= 500
