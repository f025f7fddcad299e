"""Start processes that cannot outlive us, and stop them within a bound."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from signal import Signals

from octollm.embedded import tether
from octollm.embedded.account import Account
from octollm.embedded.leash import leashed

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
# Loaded here, not between fork and exec, where nothing may be imported.
_libc = ctypes.CDLL(None) if sys.platform == "linux" else None


def run(
    command: Sequence[str], *, account: Account | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end with a clean environment; its exit code is not judged.

    It starts in the root directory, which every account can enter, and in a session
    of its own: the terminal's Ctrl-C is for us, and we stop in order.
    """
    return subprocess.run(  # noqa: S603  # our own programs, no shell
        command,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        umask=0o077,
        start_new_session=True,
        check=False,
        capture_output=True,
        text=True,
        **(account.popen_options if account else {}),
    )


def spawn(
    command: Sequence[str],
    *,
    environment: Mapping[str, str],
    log: Path | None,
    account: Account | None = None,
    death_signal: Signals = signal.SIGTERM,
) -> subprocess.Popen[bytes]:
    """Start a program in a session of its own, its output appended to ``log``.

    Without a log it writes where we do.

    A session of its own keeps the terminal's Ctrl-C from it: it is stopped in order,
    by us. On Linux the kernel sends it ``death_signal`` when the thread that called
    this ends, so call it from the main thread.
    """
    parent = os.getpid()

    def die_with_parent() -> None:
        # Runs after the change of user, which would clear the setting.
        if _libc is not None:
            _libc.prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
            if os.getppid() != parent:  # it ended before prctl took hold
                os._exit(1)

    holder = os.environ.get(tether.VARIABLE)
    if _libc is None and holder:
        command = leashed(list(command), path=Path(holder), death_signal=death_signal)
    with contextlib.ExitStack() as opened:
        output = opened.enter_context(log.open("ab")) if log else None
        return subprocess.Popen(  # noqa: S603  # our own programs, no shell
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            umask=0o077,
            preexec_fn=die_with_parent,
            **(account.popen_options if account else {}),
        )


def signal_process(process: subprocess.Popen[bytes], number: Signals) -> None:
    """Send a signal to the process alone, if it still runs."""
    if process.poll() is None:
        process.send_signal(number)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the process and its children in its group."""
    # Nobody left; macOS says EPERM when only zombies are.
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def wait_all(
    processes: Iterable[subprocess.Popen[bytes]], *, timeout_s: float
) -> list[subprocess.Popen[bytes]]:
    """Wait until all have ended or the time is up; return those that still run."""
    deadline = time.monotonic() + timeout_s
    running = list(processes)
    while running := [process for process in running if process.poll() is None]:
        if time.monotonic() > deadline:
            break
        time.sleep(0.02)
    return running


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind (Linux).

    PostgreSQL's backends have sessions of their own, so no group holds them when
    their postmaster is killed; as our children they can be found.
    """
    if _libc is not None:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def kill_orphans(known: Collection[int]) -> None:
    """Kill those of our children that we did not start ourselves."""
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # After the name, which may hold anything: state, parent, ...
            parent = int(entry.read_text().rpartition(")")[2].split()[1])
            pid = int(entry.parent.name)
            if parent == os.getpid() and pid not in known:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
