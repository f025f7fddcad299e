"""What a ``postmaster.pid`` left by a crash really names."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from octollm.embedded.errors import EngineError
from octollm.embedded.processes import run

_STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A process as the system shows it to everybody.

    Attributes:
        command_line: the program and its arguments, joined by spaces.
        is_zombie: it has ended and waits for its parent to notice.
    """

    command_line: str
    is_zombie: bool


def look_at(pid: int) -> Seen | None:
    """Return what runs under a PID, nothing when nothing does."""
    process = Path(f"/proc/{pid}")
    try:
        # The name before it, in brackets, may hold anything.
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        command_line = (process / "cmdline").read_bytes().replace(b"\0", b" ")
    except (FileNotFoundError, ProcessLookupError):
        return None if Path("/proc/self/stat").exists() else _ask_ps(pid)
    return Seen(command_line=os.fsdecode(command_line), is_zombie=state in "ZX")


def _ask_ps(pid: int) -> Seen | None:
    """Ask ``ps``, where there is no /proc."""
    asked = run(["/bin/ps", "-o", "state=,command=", "-p", str(pid)])
    state, _, command_line = asked.stdout.strip().partition(" ")
    if not state:
        return None
    return Seen(command_line=command_line, is_zombie=state.startswith("Z"))


def clear_stale_pid_file(data_directory: Path) -> None:
    """Remove a ``postmaster.pid`` whose postmaster is gone; end one that is not.

    PostgreSQL believes any live PID of its own user, and after the restart of a
    container small numbers name other programs. Whoever calls this holds the data
    directory's lock, so a postmaster that still runs there is an orphan. The check
    for orphaned backends is PostgreSQL's own: it finds their shared memory by the
    directory's inode, without this file.
    """
    pid_file = data_directory / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    asked_to_stop = False
    while _is_postmaster(pid, data_directory):
        if time.monotonic() > deadline:
            raise EngineError(f"Another PostgreSQL (PID {pid}) uses {data_directory}")
        if not asked_to_stop:
            os.kill(pid, signal.SIGINT)
            asked_to_stop = True
        time.sleep(0.05)
    pid_file.unlink(missing_ok=True)


def _is_postmaster(pid: int, data_directory: Path) -> bool:
    """Tell a postmaster of ours by its ``-D``; its cwd is hidden in containers."""
    seen = look_at(pid)
    return (
        seen is not None
        and not seen.is_zombie
        and f"-D {data_directory} " in seen.command_line
    )
