"""Says through the API that an instance is there, for as long as it is.

What goes wrong is tried again for ever: the API may come later than the instance, or
be away for a while. It is logged once, and once more when it is over.
"""

from __future__ import annotations

import logging
import threading
from random import SystemRandom
from typing import Any

import httpx2

from arms.announcing import HEARTBEAT_S, Wish
from octollm.resilience.backoff import full_jitter

logger = logging.getLogger(__name__)

TIMEOUT_S = 3.0
RETRY_BASE_S = 0.5

_random = SystemRandom()


class Announcer:
    """Announces one instance, first when it starts and then again and again."""

    def __init__(self, base_url: str, key: str, **announcement: Any) -> None:
        """Know whom to tell, by which key, and what."""
        self._address = f"{base_url.rstrip('/')}/arm-instances"
        self._key = key
        self._announcement = announcement
        self._state: Wish = "serving"
        # One at a time, or an older word could come after a newer one.
        self._lock = threading.Lock()
        self._left = threading.Event()
        self._failures = 0

    def start(self) -> None:
        """Begin to announce."""
        threading.Thread(target=self._run, name="announcer", daemon=True).start()

    def say(self, state: Wish) -> bool:
        """Say from now on that it is so, and at once; tell whether that was heard."""
        self._state = state
        if state == "gone":
            self._left.set()
        return self._announce()

    def _run(self) -> None:
        while not self._left.is_set():
            self._announce()
            self._left.wait(self._pause_s())

    def _pause_s(self) -> float:
        if not self._failures:
            return HEARTBEAT_S
        return full_jitter(
            self._failures, base_s=RETRY_BASE_S, cap_s=HEARTBEAT_S, random=_random
        )

    def _announce(self) -> bool:
        with self._lock:
            # The state is read here: while this waited it may have become another.
            reason = self._send({**self._announcement, "state": self._state})
            if not reason:
                # Only the first says it: an operator may have weighed it since.
                self._announcement.pop("weight", None)
            self._note(reason)
            return not reason

    def _send(self, body: dict[str, Any]) -> str:
        """Announce it; return why that failed, nothing when it did not."""
        try:
            answer = httpx2.post(
                self._address,
                json=body,
                headers={"Authorization": f"Bearer {self._key}"},
                timeout=TIMEOUT_S,
                trust_env=False,
            )
        except httpx2.HTTPError as error:
            return type(error).__name__
        if answer.status_code == 200:
            return ""
        return f"status {answer.status_code} {_code_in(answer)}"

    def _note(self, reason: str) -> None:
        if reason and not self._failures:
            logger.warning("the announcement fails and is tried again: %s", reason)
        elif self._failures and not reason:
            logger.info("the announcement is heard again")
        self._failures = self._failures + 1 if reason else 0


def _code_in(answer: httpx2.Response) -> str:
    try:
        return str(answer.json()["code"])
    except (ValueError, KeyError, TypeError):
        return ""
