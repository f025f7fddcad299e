"""One caller plans and the others wait: claims on a key, and waiting for their end.

Waiting is asking again. A subscription would answer some tens of milliseconds
sooner, take a connection for each caller, and still need the asking, because
messages get lost.
"""

from __future__ import annotations

import random
import threading
import time
from types import TracebackType
from typing import Self

from octollm.resilience.deadline import StopToken
from planner import cache

#: How often a claim is renewed: two renewals may fail before it is lost.
RENEW_EVERY_S = cache.CLAIM_S / 4
#: How often those who wait ask, seconds; drawn between the two.
ASK_EVERY_S = (0.05, 0.1)
_random = random.Random()  # noqa: S311  # spreads callers, guards nothing


class Claimed:
    """A claim on a key while its holder plans; renewed by a thread.

    The claim of a holder that is killed ends within ``CLAIM_S``, and so does that of
    one that is still at it two seconds after its time.
    """

    def __init__(self, key: str, *, token: str, timeout_s: float) -> None:
        """Take over what ``cache.ask`` claimed, for at most ``timeout_s`` seconds."""
        self._key = key
        self._token = token
        self._clock = StopToken(timeout_s + 2.0)
        self._ended = threading.Event()
        self._renewer = threading.Thread(
            target=self._renew, name="plan-claim", daemon=True
        )

    def __enter__(self) -> Self:
        """Start renewing."""
        self._renewer.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Let the next one plan, whatever came of it here."""
        self._ended.set()
        cache.release(self._key, token=self._token)

    def _renew(self) -> None:
        while not self._ended.wait(RENEW_EVERY_S) and self._clock.remaining_s > 0:
            cache.renew(self._key, token=self._token)


def pause(stop: StopToken) -> None:
    """Wait a moment before asking again; so long a cancel may go unnoticed."""
    time.sleep(min(_random.uniform(*ASK_EVERY_S), stop.remaining_s))
