"""What the supervisor runs: the common shape, and our own programs in it."""

from __future__ import annotations

import http.client
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Protocol

from octollm.embedded.processes import spawn


class Service(Protocol):
    """Something that is started, watched, started again and stopped."""

    @property
    def name(self) -> str:
        """What people call it; also the name of its log."""

    @property
    def log(self) -> Path:
        """Where its output goes."""

    @property
    def stop_signal(self) -> Signals:
        """What ends it in order."""

    @property
    def last_signal(self) -> Signals:
        """What ends it when it does not obey."""

    def prepare(self) -> None:
        """Make ready for a start; called before each."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""

    def is_ready(self) -> bool:
        """Tell whether it does its work."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program of ours.

    Attributes:
        environment: the whole of it.
        probe: tells whether it does its work; without one, it does if it runs.
        is_on_terminal: it writes where we do, and not to its log.
    """

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    log: Path
    stop_signal: Signals = signal.SIGTERM
    last_signal: Signals = signal.SIGKILL
    is_on_terminal: bool = False
    probe: Callable[[], bool] | None = None

    def prepare(self) -> None:
        """Need nothing."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start it without waiting."""
        return spawn(
            self.command,
            environment=self.environment,
            log=None if self.is_on_terminal else self.log,
        )

    def is_ready(self) -> bool:
        """Tell whether it does its work; that it ended, the supervisor sees."""
        return self.probe() if self.probe else True


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What the web process said; status 0 is silence."""

    status: int
    body: str


def ask(host: str, port: int, path: str, *, timeout_s: float = 5.0) -> Answer:
    """Send a GET to our own web process."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
    try:
        connection.request("GET", path, headers={"Accept": "application/json"})
        response = connection.getresponse()
        body = response.read(10_000).decode(errors="replace")
        return Answer(status=response.status, body=body)
    except (OSError, http.client.HTTPException):
        return Answer(status=0, body="")
    finally:
        connection.close()
