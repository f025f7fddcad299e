"""A real ``octollm up`` for tests, and a view of the processes below it."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octollm.embedded.instance import Instance, read_instance
from tests.waiting import wait_until

ROOT = Path(__file__).resolve().parents[1]
NOBODY = 65534
# Runs the command as the console script does, and says at the end whether Django
# found its way into the supervisor.
_SCRIPT = """
import sys
from octollm.cli import main
try:
    main()
finally:
    print("django imported:", "django" in sys.modules)
"""


@dataclass(frozen=True, kw_only=True)
class Running:
    """One start of ``octollm up``."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    instance: Instance
    output: Path

    @property
    def said(self) -> str:
        """What it wrote to the terminal so far."""
        return self.output.read_text()

    def get(self, path: str, *, key: str = "") -> int:
        """Return the status of a GET, 0 when nobody answers."""
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        request = urllib.request.Request(  # noqa: S310  # http, ours
            f"{self.instance.base_url}{path}", headers=headers
        )
        try:
            with urllib.request.urlopen(request, timeout=5) as response:  # noqa: S310
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    def descendants(self) -> dict[int, str]:
        """Return the PIDs of everything that runs below it, with command lines."""
        return descendants(self.process.pid)

    def pids(self, *words: str) -> list[int]:
        """Return descendants whose command line holds all words, oldest first."""
        found = self.descendants().items()
        return sorted(pid for pid, line in found if all(word in line for word in words))

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Stop it in order; return its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=45)


def descendants(root: int) -> dict[int, str]:
    """Return the PIDs and command lines of a process's living descendants."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            fields = entry.read_text().rpartition(")")[2].split()
            if fields[0] not in "ZX":
                parents[int(entry.parent.name)] = int(fields[1])
    found: dict[int, str] = {}
    level = {root}
    while level:
        level = {pid for pid, parent in parents.items() if parent in level}
        found.update({pid: command_line(pid) for pid in level})
    return found


def command_line(pid: int) -> str:
    """Return the command line of a process, empty when it is gone."""
    try:
        content = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    return os.fsdecode(content.replace(b"\0", b" "))


def alive(pids: Sequence[int] | dict[int, str]) -> list[int]:
    """Return those of the PIDs that still run; zombies do not."""
    return [pid for pid in pids if command_line(pid)]


def start(
    data_dir: Path, *options: str, output: Path, **popen: Any
) -> subprocess.Popen[bytes]:
    """Start ``octollm up`` on a free port; do not wait for it."""
    python = popen.pop("python", sys.executable)
    environment = {**clean_environment(), **popen.pop("environment", {})}
    with output.open("wb") as terminal:
        return subprocess.Popen(
            [
                python,
                "-c",
                _SCRIPT,
                "up",
                "--port=0",
                f"--data-dir={data_dir}",
                *options,
            ],
            env=environment,
            cwd=popen.pop("cwd", ROOT),
            stdout=terminal,
            stderr=terminal,
            **popen,
        )


def clean_environment() -> dict[str, str]:
    """Return the environment of an operator who has set nothing of ours."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("OCTOLLM_") and name != "DJANGO_SETTINGS_MODULE"
    }
    return {**kept, "PYTHONWARNINGS": "default"}


@contextlib.contextmanager
def running(
    data_dir: Path, *options: str, with_demo: bool = False, **popen: Any
) -> Iterator[Running]:
    """Have ``octollm up`` run; kill what a failed test leaves of it."""
    options = options if with_demo else ("--no-demo", *options)
    with tempfile.TemporaryDirectory() as directory:
        output = Path(directory) / "output"
        process = start(data_dir, *options, output=output, **popen)
        try:
            yield Running(
                process=process,
                data_dir=data_dir,
                instance=_await_instance(process, data_dir, output),
                output=output,
            )
        finally:
            _end(process)


def _await_instance(
    process: subprocess.Popen[bytes], data_dir: Path, output: Path
) -> Instance:
    found = None
    with contextlib.suppress(AssertionError):
        found = wait_until(
            lambda: process.poll() is not None or read_instance(data_dir),
            timeout_s=45,
        )
    assert isinstance(found, Instance), output.read_text()
    return found


def _end(process: subprocess.Popen[bytes]) -> None:
    left = descendants(process.pid)
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=20)
    for pid in alive([process.pid, *left]):
        os.kill(pid, signal.SIGKILL)
    process.wait()


@contextlib.contextmanager
def new_data_dir(name: str = "data") -> Iterator[Path]:
    """Yield the path of a data directory that the engines' user can reach.

    pytest's own temporary directories are for their owner alone; the engines of
    such a place live elsewhere, which has tests of its own.
    """
    parent = Path(tempfile.mkdtemp(prefix="octollm-up-", dir="/tmp"))
    parent.chmod(0o711)
    try:
        yield parent / name
    finally:
        remove_engines_elsewhere(parent / name)
        shutil.rmtree(parent)


def remove_engines_elsewhere(data_dir: Path) -> None:
    """Remove the engines' data of a data directory that they could not reach."""
    pointer = data_dir / "engines.path"
    if pointer.exists():
        shutil.rmtree(pointer.read_text().strip())
