"""One event loop per process for calls that leave it.

A worker thread hands over a coroutine and waits. The loop's clock, not the
client library's per-read time-outs, decides when the call ends: a server that
drips one byte at a time is stopped like one that says nothing, and cancelling
closes the socket.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import threading
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import CancelledError, Future, wait
from typing import Any, Generic, TypeVar

from octollm.errors import CallCancelledError, DeadlineExceededError
from octollm.resilience.deadline import StopToken

logger = logging.getLogger(__name__)

T = TypeVar("T")

# How long a cancelled coroutine may tidy up before its caller stops waiting for it.
CLEANUP_S = 2.0


class _Call(Generic[T]):
    """One coroutine on the loop and the future that the calling thread waits on."""

    def __init__(
        self, coroutine: Coroutine[Any, Any, T], loop: asyncio.AbstractEventLoop
    ) -> None:
        self.outcome: Future[T] = Future()
        self._coroutine = coroutine
        self._loop = loop
        self._task: asyncio.Task[T] | None = None
        loop.call_soon_threadsafe(self._start)

    def cancel(self) -> None:
        """Ask the coroutine to stop; from any thread, also after it ended."""
        try:
            self._loop.call_soon_threadsafe(self._stop)
        except RuntimeError:
            # The loop was closed at shutdown, which has cancelled every task.
            self._abandon()

    def _start(self) -> None:
        self._task = self._loop.create_task(self._coroutine)
        self._task.add_done_callback(self._settle)

    def _stop(self) -> None:
        if self._task is not None and not self._task.done():
            self._task.cancel()
            self._loop.call_later(CLEANUP_S, self._abandon)

    def _settle(self, task: asyncio.Task[T]) -> None:
        error = CancelledError() if task.cancelled() else task.exception()
        if self.outcome.done():
            return
        if error is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())

    def _abandon(self) -> None:
        if not self.outcome.done():
            logger.error("a cancelled call did not stop")
            self.outcome.set_exception(CancelledError())


class _Loop:
    """The event loop and its thread."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.loop = asyncio.new_event_loop()
        self._closers: list[Callable[[], Awaitable[None]]] = []
        self._thread = threading.Thread(
            target=self._serve, name="outbound-loop", daemon=True
        )
        self._thread.start()

    def add_closer(self, closer: Callable[[], Awaitable[None]]) -> None:
        if closer not in self._closers:
            self._closers.append(closer)

    def close(self, timeout_s: float) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self._drain(), self.loop).result(timeout_s)
        except TimeoutError:
            logger.warning("calls were still running when the loop was closed")
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(timeout_s)

    def _serve(self) -> None:
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_forever()
            self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        finally:
            self.loop.close()

    async def _drain(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for closer in self._closers:
            await closer()


_lock = threading.Lock()
_current: _Loop | None = None


def run(coroutine: Coroutine[Any, Any, T], *, stop: StopToken) -> T:
    """Run ``coroutine`` on this process's loop and return what it returns.

    Raises:
        DeadlineExceededError: the time of ``stop`` is over; the coroutine was
            cancelled and had at most ``CLEANUP_S`` seconds to tidy up.
        CallCancelledError: ``stop`` was cancelled, or the process is stopping.
        BaseException: whatever the coroutine raised by itself.
    """
    try:
        stop.check()
        call = _Call(coroutine, _loop().loop)
    except BaseException:
        coroutine.close()
        raise
    stop.on_cancel(call.cancel)
    try:
        wait((call.outcome,), timeout=stop.remaining_s)
        if not call.outcome.done():
            call.cancel()
            return _result_of(call, stop, is_late=True)
        return _result_of(call, stop, is_late=False)
    finally:
        stop.forget(call.cancel)
        # Also when Ctrl-C ends the wait.
        if not call.outcome.done():
            call.cancel()


def on_shutdown(closer: Callable[[], Awaitable[None]]) -> None:
    """Await ``closer`` on the loop before it is closed; registered once per loop."""
    _loop().add_closer(closer)


def shutdown(timeout_s: float = CLEANUP_S) -> None:
    """Cancel what runs, close what was opened and end the thread.

    A later ``run`` starts a new loop.
    """
    global _current
    with _lock:
        current, _current = _current, None
    if current is not None and current.pid == os.getpid():
        current.close(timeout_s)


def _result_of(call: _Call[T], stop: StopToken, *, is_late: bool) -> T:
    # Longer than the loop's own bound: only a blocked loop gets here late.
    wait((call.outcome,), timeout=2 * CLEANUP_S)
    if not call.outcome.done():
        raise DeadlineExceededError
    error = call.outcome.exception()
    if error is not None and stop.is_cancelled:
        raise CallCancelledError from error
    if error is not None and is_late:
        raise DeadlineExceededError from error
    if isinstance(error, CancelledError):
        raise CallCancelledError("The process is stopping.") from error
    return call.outcome.result()


def _loop() -> _Loop:
    global _current
    with _lock:
        # The pid differs in a forked child, whose copy has no thread behind it.
        if _current is None or _current.pid != os.getpid():
            _current = _Loop()
        return _current


def _forget_parent() -> None:
    global _current, _lock
    # Another thread of the parent may have held the lock at the fork.
    _current, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget_parent)
atexit.register(shutdown)
