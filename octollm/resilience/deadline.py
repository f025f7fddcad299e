"""How long something may take, and whether somebody asked it to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from octollm.errors import CallCancelledError, DeadlineExceededError


class StopToken:
    """A wall-clock deadline and a cancel flag that travel with one call.

    The deadline is kept on the monotonic clock, so a step of the system clock
    neither ends nor prolongs a call. Safe to use from any thread.
    """

    def __init__(self, timeout_s: float) -> None:
        """Start the clock: the deadline is ``timeout_s`` seconds from now."""
        self._deadline = time.monotonic() + timeout_s
        self._cancelled = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def remaining_s(self) -> float:
        """Seconds left, 0.0 when none is."""
        return max(0.0, self._deadline - time.monotonic())

    @property
    def is_cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._cancelled.is_set()

    def cancel(self) -> None:
        """Ask the call to stop; runs what ``on_cancel`` registered, once."""
        with self._lock:
            if self._cancelled.is_set():
                return
            self._cancelled.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_cancel(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` when cancelled, at once if that has happened."""
        with self._lock:
            if not self._cancelled.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def forget(self, callback: Callable[[], None]) -> None:
        """Drop what ``on_cancel`` registered, if it has not run."""
        with self._lock:
            if callback in self._callbacks:
                self._callbacks.remove(callback)

    def shortened(self, timeout_s: float) -> StopToken:
        """Return a token that ends with this one, or after ``timeout_s`` if sooner."""
        shorter = StopToken(min(timeout_s, self.remaining_s))
        self.on_cancel(shorter.cancel)
        return shorter

    def check(self) -> None:
        """Raise if the call should not go on.

        Raises:
            CallCancelledError: somebody asked to stop.
            DeadlineExceededError: the time is over.
        """
        if self.is_cancelled:
            raise CallCancelledError
        if self.remaining_s <= 0:
            raise DeadlineExceededError
