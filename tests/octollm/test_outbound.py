"""The outbound loop against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
from collections.abc import Iterator
from random import Random

import pytest

from octollm.errors import CallCancelledError, DeadlineExceededError
from octollm.resilience import outbound
from octollm.resilience.backoff import full_jitter
from octollm.resilience.deadline import StopToken
from tests.waiting import wait_until


class Peer:
    """A TCP server that drips bytes, or says nothing, until its caller is gone."""

    def __init__(self, *, drip_s: float | None) -> None:
        self._drip_s = drip_s
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.is_connected = threading.Event()
        self.closed_at: float | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            connection, _ = self._listener.accept()
            with connection:
                self.is_connected.set()
                connection.settimeout(self._drip_s or 30)
                self._talk_until_closed(connection)
                self.closed_at = time.monotonic()

    def _talk_until_closed(self, connection: socket.socket) -> None:
        while True:
            try:
                if not connection.recv(1):
                    return
            except TimeoutError:
                try:
                    connection.sendall(b".")
                except OSError:
                    return
            except OSError:
                return

    def stop(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(35)


@pytest.fixture
def hanging_peer() -> Iterator[Peer]:
    peer = Peer(drip_s=None)
    yield peer
    peer.stop()


@pytest.fixture
def dripping_peer() -> Iterator[Peer]:
    peer = Peer(drip_s=0.02)
    yield peer
    peer.stop()


async def read_all(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await reader.read()
    finally:
        writer.close()


async def add(left: int, right: int) -> int:
    return left + right


def running_calls() -> set[asyncio.Task[object]]:
    async def list_tasks() -> set[asyncio.Task[object]]:
        return asyncio.all_tasks() - {asyncio.current_task()}

    return outbound.run(list_tasks(), stop=StopToken(5))


def test_the_result_comes_back_to_the_calling_thread() -> None:
    assert outbound.run(add(2, 3), stop=StopToken(5)) == 5


def test_the_coroutines_own_error_comes_back_unchanged() -> None:
    async def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        outbound.run(fail(), stop=StopToken(5))


def test_a_time_out_of_the_coroutine_is_not_taken_for_the_deadline() -> None:
    async def time_out() -> None:
        raise TimeoutError("of the library")

    with pytest.raises(TimeoutError, match="of the library"):
        outbound.run(time_out(), stop=StopToken(5))


def test_the_deadline_stops_a_peer_that_says_nothing(hanging_peer: Peer) -> None:
    started = time.monotonic()

    with pytest.raises(DeadlineExceededError):
        outbound.run(read_all(hanging_peer.port), stop=StopToken(0.3))

    assert time.monotonic() - started < 1.5
    assert wait_until(lambda: hanging_peer.closed_at, timeout_s=2)


def test_the_deadline_stops_a_slow_drip(dripping_peer: Peer) -> None:
    started = time.monotonic()

    with pytest.raises(DeadlineExceededError):
        outbound.run(read_all(dripping_peer.port), stop=StopToken(0.4))

    assert time.monotonic() - started < 1.5
    assert wait_until(lambda: dripping_peer.closed_at, timeout_s=2)


def test_cancel_closes_the_peers_socket_within_two_seconds(hanging_peer: Peer) -> None:
    stop = StopToken(60)
    moments: list[float] = []

    def cancel_when_connected() -> None:
        hanging_peer.is_connected.wait(10)
        moments.append(time.monotonic())
        stop.cancel()

    canceller = threading.Thread(target=cancel_when_connected)
    canceller.start()
    with pytest.raises(CallCancelledError):
        outbound.run(read_all(hanging_peer.port), stop=stop)
    canceller.join()

    closed_at = wait_until(lambda: hanging_peer.closed_at, timeout_s=3)
    assert closed_at is not None
    assert closed_at - moments[0] < 2


def test_stopped_calls_leave_no_task_behind(hanging_peer: Peer) -> None:
    with pytest.raises(DeadlineExceededError):
        outbound.run(read_all(hanging_peer.port), stop=StopToken(0.1))

    assert running_calls() == set()


@pytest.mark.parametrize(
    ("is_cancelled", "error"),
    [(True, CallCancelledError), (False, DeadlineExceededError)],
)
def test_nothing_starts_when_the_time_is_over(
    is_cancelled: bool, error: type[Exception]
) -> None:
    stop = StopToken(60 if is_cancelled else 0)
    if is_cancelled:
        stop.cancel()

    with pytest.raises(error):
        outbound.run(add(1, 1), stop=stop)


def test_a_coroutine_that_ignores_cancel_holds_its_caller_for_a_bounded_time() -> None:
    release = asyncio.Event()

    async def ignore_cancel() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    started = time.monotonic()
    with pytest.raises(DeadlineExceededError):
        outbound.run(ignore_cancel(), stop=StopToken(0.1))
    waited_s = time.monotonic() - started

    async def let_go() -> None:
        release.set()

    outbound.run(let_go(), stop=StopToken(5))
    assert outbound.CLEANUP_S <= waited_s < 2 * outbound.CLEANUP_S


def test_shutdown_ends_what_runs_and_a_later_call_starts_anew(
    hanging_peer: Peer,
) -> None:
    errors: list[BaseException] = []
    closed: list[bool] = []

    async def closer() -> None:
        closed.append(True)

    def call() -> None:
        try:
            outbound.run(read_all(hanging_peer.port), stop=StopToken(60))
        except CallCancelledError as error:
            errors.append(error)

    outbound.on_shutdown(closer)
    caller = threading.Thread(target=call)
    caller.start()
    hanging_peer.is_connected.wait(10)
    outbound.shutdown()
    caller.join(5)

    assert len(errors) == 1
    assert closed == [True]
    assert outbound.run(add(1, 2), stop=StopToken(5)) == 3


@pytest.mark.filterwarnings(
    "ignore:This process .* is multi-threaded:DeprecationWarning"
)
def test_a_forked_child_gets_a_loop_of_its_own() -> None:
    outbound.run(add(1, 1), stop=StopToken(5))

    child = os.fork()
    if child == 0:
        try:
            os._exit(outbound.run(add(20, 1), stop=StopToken(5)))
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)

    assert os.waitstatus_to_exitcode(status) == 21


def test_a_shortened_token_ends_with_its_parent() -> None:
    parent = StopToken(60)
    child = parent.shortened(5)

    parent.cancel()

    assert child.is_cancelled
    assert child.remaining_s <= 5
    assert StopToken(1).shortened(60).remaining_s <= 1


def test_a_forgotten_callback_does_not_run() -> None:
    stop, ran = StopToken(5), []

    def note() -> None:
        ran.append("ran")

    stop.on_cancel(note)
    stop.forget(note)
    stop.cancel()

    assert ran == []


@pytest.mark.parametrize(("attempt", "bound_s"), [(1, 0.5), (2, 1.0), (3, 2.0), (9, 8)])
def test_back_off_stays_under_its_doubling_bound(attempt: int, bound_s: float) -> None:
    pauses = [
        full_jitter(attempt, base_s=0.5, cap_s=8, random=Random(seed))  # noqa: S311
        for seed in range(200)
    ]

    assert all(0 <= pause <= bound_s for pause in pauses)
    assert max(pauses) > 0.9 * bound_s
    assert min(pauses) < 0.1 * bound_s


def test_back_off_is_the_same_for_the_same_seed_and_never_overflows() -> None:
    first, second = (
        full_jitter(5000, base_s=1, cap_s=60, random=Random(7))  # noqa: S311
        for _ in range(2)
    )

    assert first == second <= 60
