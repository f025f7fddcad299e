"""The data directory: who holds it, and where the engines' own files are.

Layout of a data directory: ``up.lock``, ``up.json``, ``keys.json``, ``logs/``,
``run/`` (emptied at each start) and ``engines/`` or, where the engines' user cannot
reach that, ``engines.path`` with the name of a directory that it can reach.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from octollm.embedded.account import Account
from octollm.embedded.errors import AlreadyRunningError, EmbeddedError
from octollm.embedded.processes import run

# Where root keeps engines whose data directory only root may enter.
SHARED_PLACES = (
    Path("/var/lib/octollm"),
    Path("/var/tmp/octollm"),  # noqa: S108  # nobody else may write into it
)


@contextmanager
def held(directory: Path, account: Account | None) -> Iterator[None]:
    """Make the data directory if need be and hold its lock.

    A new one lets the engines' user pass through when there is such a user; the
    mode of an existing one is not ours to change.

    Raises:
        AlreadyRunningError: another start holds it.
        EmbeddedError: it cannot be made or written.
    """
    try:
        if not directory.exists():
            directory.mkdir(mode=0o700, parents=True)
            if account:
                directory.chmod(0o711)
        opened = (directory / "up.lock").open("a+")
    except OSError as error:
        raise EmbeddedError(f"Cannot use {directory}: {error.strerror}") from error
    with opened as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            pid = lock.read().strip() or "unknown"
            raise AlreadyRunningError(
                f"OctoLLM already runs in {directory} (PID {pid}); stop that one, or "
                "choose another --data-dir and --port."
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


def fresh_directory(path: Path) -> Path:
    """Return the directory, emptied."""
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(mode=0o700, parents=True)
    return path


def engines_home(
    directory: Path,
    account: Account | None,
    *,
    shared_places: tuple[Path, ...] = SHARED_PLACES,
) -> Path:
    """Return where the engines of this data directory live, choosing at first use.

    That is inside the data directory if the engines' user can reach it. If not, it
    is a directory with a random name elsewhere, which the data directory remembers:
    opening somebody's directory to others is not ours to do.

    Raises:
        EmbeddedError: what an earlier start chose is gone or not ours.
    """
    pointer = directory / "engines.path"
    if pointer.exists():
        return _remembered(pointer)
    home = directory / "engines"
    is_new = not home.exists()
    home.mkdir(mode=0o700, exist_ok=True)
    _check_owner(home)
    if account is None:
        return home
    home.chmod(0o711)
    if can_enter(home, account):
        return home
    if not is_new:
        raise EmbeddedError(
            f"The engines' data in {home} can no longer be reached by the user they "
            "run as: give its parent directories back the x permission for others."
        )
    home.rmdir()
    return _choose_shared(pointer, account, shared_places)


def can_enter(directory: Path, account: Account) -> bool:
    """Tell whether the account can reach a directory.

    Asked of the system itself, because mode bits do not tell of ACLs and mounts.
    """
    command = ["/bin/sh", "-c", 'cd "$1"', "sh", str(directory)]
    return run(command, account=account).returncode == 0


def _remembered(pointer: Path) -> Path:
    home = Path(pointer.read_text().strip())
    if not home.is_dir():
        raise EmbeddedError(
            f"The engines' data of this system was in {home}, which is gone. Bring it "
            f"back, or remove {pointer} to start with an empty database."
        )
    _check_owner(home)
    return home


def _check_owner(home: Path) -> None:
    owner = home.lstat().st_uid
    if owner != os.geteuid():
        raise EmbeddedError(
            f"{home} belongs to the user with uid {owner}; run as that user, or "
            "choose another --data-dir."
        )


def _choose_shared(
    pointer: Path, account: Account, shared_places: tuple[Path, ...]
) -> Path:
    for place in shared_places:
        home = place / secrets.token_hex(8)
        try:
            place.mkdir(mode=0o755, parents=True, exist_ok=True)
            _check_owner(place)  # /var/tmp is everybody's
            home.mkdir(mode=0o711)
        except (OSError, EmbeddedError):
            continue
        for part in (place, home):
            part.chmod(0o711)  # in mkdir, a umask would cut it
        if can_enter(home, account):
            (home / "data-directory").write_text(f"{pointer.parent}\n")
            pointer.write_text(f"{home}\n")
            return home
        home.rmdir()
    raise EmbeddedError(
        f"No directory for the engines: their user can reach neither {pointer.parent} "
        f"nor {' nor '.join(map(str, shared_places))}. Choose another --data-dir."
    )
