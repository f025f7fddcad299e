"""Start, kill and restart an arm process, on one port and one store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx2

from octollm.embedded.processes import kill_group, spawn
from octollm.embedded.up import free_port
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parent.parent


class ArmProcess:
    """An arm in a process of its own; see ``tests/arm_server.py`` for its options."""

    def __init__(self, directory: Path, *options: str, name: str = "remote") -> None:
        """Choose a port and a store; nothing runs yet."""
        self.name = name
        self.port = free_port("127.0.0.1", 0)
        self.store = directory / f"{name}-{self.port}.sqlite"
        self._log = directory / f"{name}-{self.port}.log"
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """Where it is, or will be."""
        return f"http://127.0.0.1:{self.port}"

    def setting(self, **extra: Any) -> dict[str, Any]:
        """Return its entry of ``OCTOLLM_REMOTE_ARMS``."""
        return {"name": self.name, "url": self.url, **extra}

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = spawn(
            [
                *(sys.executable, "-m", "tests.arm_server", "--port", str(self.port)),
                *("--store", str(self.store), "--name", self.name, *self._options),
            ],
            environment={**os.environ, "PYTHONPATH": str(ROOT)},
            log=self._log,
        )
        wait_until(self._answers, timeout_s=20)

    def kill(self) -> None:
        """Kill it at once, as kill -9 does."""
        assert self._process is not None
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal, as to stop it and let it go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self, timeout_s: float = 20) -> None:
        """Wait until it has ended by itself."""
        assert self._process is not None
        self._process.wait(timeout_s)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process is not None:
            kill_group(self._process)

    def _answers(self) -> bool:
        try:
            return httpx2.get(f"{self.url}/health", timeout=2).status_code == 200
        except httpx2.HTTPError:
            return False


def setting_of(*arms: ArmProcess, **extra: Any) -> dict[str, str]:
    """Return the environment by which a process knows these arms."""
    listed = [arm.setting(**extra) for arm in arms]
    return {"OCTOLLM_REMOTE_ARMS": json.dumps(listed)}
