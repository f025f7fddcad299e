"""End our own processes when the one that started everything is gone.

The kernel tells direct children that their parent died (Linux only), but granian and
Dramatiq have children of their own, and those would live on. So the supervisor holds
a lock on a file that the environment names, and every process of ours has a thread
that waits for it: the kernel gives the lock away at the moment the holder is gone,
however it went. A lock needs no descriptor to be inherited, which spawned
grandchildren would lose, and works the same on macOS.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
import time
from io import TextIOWrapper
from pathlib import Path

VARIABLE = "OCTOLLM_TETHER"
# Enough for what runs to notice a SIGTERM; all must be gone within 10 s.
GRACE_S = 5.0

_tied_by = 0
_held_by = 0


def tie(path: Path) -> TextIOWrapper:
    """Hold the lock on ``path`` as long as the returned file is open.

    The environment names it from now on, for us and for those we start.
    """
    global _tied_by  # so that the holder does not wait for itself
    file = path.open("w")
    fcntl.flock(file, fcntl.LOCK_EX)
    _tied_by = os.getpid()
    os.environ[VARIABLE] = str(path)
    return file


def is_held(path: Path) -> bool:
    """Tell whether the process that tied it still lives."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def hold() -> None:
    """End this process soon after the holder of the tether is gone.

    Does nothing where no tether is set; safe to call again, also after a fork.
    """
    global _held_by  # threads do not survive a fork, so per process
    path = os.environ.get(VARIABLE)
    if path and os.getpid() not in (_held_by, _tied_by):
        _held_by = os.getpid()
        threading.Thread(
            target=_end_with_holder, args=(path,), name="tether", daemon=True
        ).start()


def wait(path: Path) -> None:
    """Return when the holder of the tether is gone."""
    # Removed at the end of an ordered stop.
    with contextlib.suppress(FileNotFoundError), path.open() as file:
        fcntl.flock(file, fcntl.LOCK_SH)


def _end_with_holder(path: str) -> None:
    wait(Path(path))
    time.sleep(GRACE_S)
    # Not sys.exit: the main thread may be stuck in what does not end.
    os._exit(1)
