"""How many requests may be sent once more: an arm in trouble is not buried in retries.

Each first request earns a fifth of a retry. So however many attempts steps have left,
retries add no more than that to an arm's load, besides a few for quiet times.
Source: the retry budget of Twitter's Finagle.
"""

from __future__ import annotations

import os
import threading
from collections import defaultdict

# Of a retry, by each first request.
EARNED = 0.2
# What an arm begins with, so that the only request of an hour can be tried again.
RESERVE = 10.0
# No more than these are saved up: a calm day is no reason for a storm.
MOST = 100.0


class RetryBudgets:
    """What is left by arm, in this process. Safe to use from any thread."""

    def __init__(self) -> None:
        """Start with the reserves."""
        self._lock = threading.Lock()
        self._left: dict[str, float] = defaultdict(lambda: RESERVE)

    def earn(self, arm: str) -> None:
        """Count a first request."""
        with self._lock:
            self._left[arm] = min(MOST, self._left[arm] + EARNED)

    def spend(self, arm: str) -> bool:
        """Take a retry; false when there is none left."""
        with self._lock:
            if self._left[arm] < 1.0:
                return False
            self._left[arm] -= 1.0
            return True

    def refill(self) -> None:
        """Give each arm one retry more, up to the reserve; the worker does it at times."""
        with self._lock:
            for arm, left in self._left.items():
                self._left[arm] = max(left, min(RESERVE, left + 1.0))

    def reset(self) -> None:
        """Start anew."""
        self.__init__()  # type: ignore[misc]  # as a new one


budgets = RetryBudgets()


# Another thread of the parent may have held the lock at the fork.
os.register_at_fork(after_in_child=budgets.reset)
