"""Start services, start them again when they end, and stop them in order.

1. `start_engine` and `start` start services.
2. `watch` sleeps until a child ends or a signal comes. A child that ended takes what
   is left of its group along and is started again, after a pause that doubles.
   One that keeps ending, or an engine that does not come back, ends everything.
3. At the end of `in_charge`, programs are stopped first, then engines, each within
   a bound.

One thread, the main one: signals wake it through a pipe, and Linux tells children of
the death of the thread that started them, not of the process.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from types import FrameType

from octollm.embedded import engines
from octollm.embedded.engines import Engine
from octollm.embedded.errors import EmbeddedError
from octollm.embedded.logs import tail, trim
from octollm.embedded.processes import (
    adopt_orphans,
    kill_group,
    kill_orphans,
    signal_process,
)
from octollm.embedded.services import Service

_TICK_S = 1.0
_QUICK_TICK_S = 0.1
_TRIM_INTERVAL_S = 5.0
_STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """How long things may take, in seconds, and how often they may fail.

    Attributes:
        last_signal_s: a postmaster kills its backends within 5 s of SIGQUIT.
        first_pause_s: before a restart; doubles with each recent end.
        max_deaths: so many within ``deaths_within_s``, and it is given up.
    """

    programs_stop_s: float = 15.0
    engine_stop_s: float = 10.0
    last_signal_s: float = 6.0
    return_s: float = 60.0
    first_pause_s: float = 0.5
    max_deaths: int = 5
    deaths_within_s: float = 60.0


class StopRequestedError(Exception):
    """Somebody asked for an ordered stop."""


class Kind(Enum):
    """How a child is watched and stopped."""

    ENGINE = "engine"  # others need it: stopped last, must come back in time
    PROGRAM = "program"  # started again when it ends
    ERRAND = "errand"  # ends by itself


class Child:
    """A service and the process that runs it now."""

    def __init__(self, service: Service, kind: Kind, bounds: Bounds) -> None:
        """Start with no process."""
        self.service = service
        self.kind = kind
        self.process: subprocess.Popen[bytes] | None = None
        self.restart_at = 0.0
        self.ready_by: float | None = None
        self._bounds = bounds
        self._deaths: deque[float] = deque(maxlen=bounds.max_deaths)

    def spawn(self) -> None:
        """Start the process without waiting for it."""
        self.service.prepare()
        self.process = self.service.spawn()

    @property
    def is_running(self) -> bool:
        """Whether its process lives."""
        return self.process is not None and self.process.poll() is None

    def note_death(self, now: float) -> bool:
        """Settle when to start it again; say whether that would be of any use."""
        self.process = None
        self._deaths.append(now)
        recent = sum(
            now - death < self._bounds.deaths_within_s for death in self._deaths
        )
        self.restart_at = now + self._bounds.first_pause_s * 2 ** (recent - 1)
        return recent < self._bounds.max_deaths


class Supervisor:
    """The one process that starts all others."""

    def __init__(
        self, say: Callable[[str], None], *, bounds: Bounds | None = None
    ) -> None:
        """Take what tells the person at the terminal something."""
        self._say = say
        self._bounds = bounds or Bounds()
        self._children: list[Child] = []
        self._stop_signals = 0
        self._wake_up, self._waker = os.pipe()
        self._trimmed_at = 0.0

    @contextmanager
    def in_charge(self) -> Iterator[None]:
        """Take the signals; stop everything at the end, whatever ends it."""
        os.set_blocking(self._waker, False)
        adopt_orphans()
        signal.set_wakeup_fd(self._waker, warn_on_full_buffer=False)
        for number in _STOP_SIGNALS:
            is_ignored = signal.getsignal(number) is signal.SIG_IGN
            if not (number is signal.SIGHUP and is_ignored):  # nohup
                signal.signal(number, self._on_stop_signal)
        # Without a handler of its own, a child's end would wake nobody.
        signal.signal(signal.SIGCHLD, lambda *_: None)
        try:
            yield
        finally:
            self._stop_all()
            signal.set_wakeup_fd(-1)

    def _on_stop_signal(self, _number: int, _frame: FrameType | None) -> None:
        self._stop_signals += 1

    # Starting -------------------------------------------------------------------

    def start_engine(self, engine: Engine) -> None:
        """Start an engine and wait until it answers."""
        child = Child(engine, Kind.ENGINE, self._bounds)
        child.process = engines.start(engine, sleep=self._sleep)
        self._children.append(child)

    def start(self, service: Service, kind: Kind = Kind.PROGRAM) -> Child:
        """Start a service, begin to watch it, do not wait for it."""
        child = Child(service, kind, self._bounds)
        self._children.append(child)
        child.spawn()
        return child

    def await_ready(
        self, child: Child, is_ready: Callable[[], bool], *, timeout_s: float
    ) -> None:
        """Wait until a first start is done.

        Raises:
            EmbeddedError: the child ended or the time is up.
            StopRequestedError: somebody asked to stop.
        """
        deadline = time.monotonic() + timeout_s
        while not is_ready():
            if not child.is_running or time.monotonic() > deadline:
                log = child.service.log
                raise EmbeddedError(
                    f"{child.service.name} is not ready; the end of {log}:\n{tail(log)}"
                )
            self._sleep(0.05)

    def await_end(self, child: Child) -> int:
        """Wait for an errand; return its exit code."""
        while child.is_running:
            self._sleep(_TICK_S)
        self._children.remove(child)
        return child.process.returncode if child.process else 1

    # Watching -------------------------------------------------------------------

    def watch(self) -> None:
        """Keep everything running until somebody asks to stop.

        Raises:
            StopRequestedError: somebody did.
            EmbeddedError: something keeps ending, or an engine does not come back.
        """
        while True:
            is_waiting = any(c.process is None or c.ready_by for c in self._children)
            self._sleep(_QUICK_TICK_S if is_waiting else _TICK_S)
            for child in list(self._children):
                self._tend(child, time.monotonic())
            self._trim_logs(time.monotonic())

    def _tend(self, child: Child, now: float) -> None:
        if child.process is None:
            if now >= child.restart_at:
                child.spawn()
                child.ready_by = now + self._bounds.return_s
        elif child.process.poll() is not None:
            self._bury(child, child.process, now)
        elif child.ready_by is not None:
            self._check_return(child, child.ready_by, now)

    def _bury(self, child: Child, process: subprocess.Popen[bytes], now: float) -> None:
        """Clear up after a child that ended by itself."""
        kill_group(process)
        is_worth_a_try = child.note_death(now)
        kill_orphans(self._pids())
        name, log = child.service.name, child.service.log
        how = _how_it_ended(process.returncode)
        if child.kind is Kind.ERRAND:
            self._children.remove(child)
            if process.returncode != 0:
                self._say(f"{name} ended {how}; the system stays up")
        elif is_worth_a_try:
            self._say(f"{name} ended {how}; starting it again (see {log})")
        else:
            raise EmbeddedError(
                f"{name} keeps ending, last {how}; the end of {log}:\n{tail(log)}"
            )

    def _check_return(self, child: Child, ready_by: float, now: float) -> None:
        name, log = child.service.name, child.service.log
        if child.service.is_ready():
            child.ready_by = None
            self._say(f"{name} is back")
        elif now > ready_by:
            raise EmbeddedError(
                f"{name} was started again and does not answer after "
                f"{self._bounds.return_s:.0f} s; the end of {log}:\n{tail(log)}"
            )

    def _trim_logs(self, now: float) -> None:
        if now - self._trimmed_at > _TRIM_INTERVAL_S:
            self._trimmed_at = now
            for child in self._children:
                trim(child.service.log)

    def _pids(self) -> set[int]:
        return {child.process.pid for child in self._children if child.process}

    # Sleeping and stopping --------------------------------------------------------

    def _sleep(self, seconds: float) -> None:
        """Sleep until a signal comes, at most so long; raise when asked to stop."""
        self._nap(seconds)
        if self._stop_signals:
            raise StopRequestedError

    def _nap(self, seconds: float) -> None:
        if select.select([self._wake_up], [], [], seconds)[0]:
            os.read(self._wake_up, 1024)

    def _stop_all(self) -> None:
        """Stop programs together, then each engine, the last started first.

        A second request to stop ends programs at once; engines still end cleanly.
        """
        programs = [child for child in self._children if child.kind is not Kind.ENGINE]
        _send(programs, lambda service: service.stop_signal)
        self._await_all(programs, self._bounds.programs_stop_s, is_patient=False)
        _kill(programs)
        for engine in reversed([c for c in self._children if c.kind is Kind.ENGINE]):
            _send([engine], lambda service: service.stop_signal)
            if not self._await_all([engine], self._bounds.engine_stop_s):
                _send([engine], lambda service: service.last_signal)
                self._await_all([engine], self._bounds.last_signal_s)
            _kill([engine])
        kill_orphans(set())

    def _await_all(
        self, children: list[Child], timeout_s: float, *, is_patient: bool = True
    ) -> bool:
        """Wait until all have ended; return whether they did in time."""
        deadline = time.monotonic() + timeout_s
        while any(child.is_running for child in children):
            is_hurried = self._stop_signals > 1 and not is_patient
            if is_hurried or time.monotonic() > deadline:
                return False
            self._nap(0.1)
        return True


def _send(children: list[Child], choose: Callable[[Service], signal.Signals]) -> None:
    for child in children:
        if child.process is not None:
            signal_process(child.process, choose(child.service))


def _kill(children: list[Child]) -> None:
    for child in children:
        if child.process is not None:
            kill_group(child.process)


def _how_it_ended(returncode: int) -> str:
    if returncode < 0:
        return f"by {signal.Signals(-returncode).name}"
    return f"with exit code {returncode}"
