"""PostgreSQL and Valkey as private servers that only listen on unix sockets.

Each engine is a small class with the same five parts: ``prepare`` its files, the
``command``, ``is_ready``, and the two signals that end it. `start` and `stop` work
on any of them; who supervises them afterwards is not their business.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import stat
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from signal import Signals
from typing import ClassVar

from octollm.embedded.account import Account
from octollm.embedded.binaries import Binaries, usable_binaries
from octollm.embedded.errors import EngineError
from octollm.embedded.layout import DATABASE, ROLE, EngineLayout
from octollm.embedded.postmaster import clear_stale_pid_file
from octollm.embedded.processes import (
    kill_group,
    run,
    signal_process,
    spawn,
    wait_all,
)

POSTGRES_MAJOR = "18"
# A first start after a crash reads the whole WAL before it answers.
START_TIMEOUT_S = 120.0
# A killed postmaster's children need a moment to notice; so does whoever must reap it.
_PASSING_TIMEOUT_S = 15.0
_PASSING_MESSAGES = (
    b'lock file "postmaster.pid" already exists',
    b"pre-existing shared memory block",
)


class Engine(ABC):
    """One server program with its files."""

    name: ClassVar[str]
    stop_signal: ClassVar[Signals]
    last_signal: ClassVar[Signals]

    def __init__(
        self,
        layout: EngineLayout,
        *,
        binaries: Binaries,
        account: Account | None,
        log: Path,
        options: Sequence[str] = (),
    ) -> None:
        """Take the places; ``options`` are further arguments for the program."""
        self.layout = layout
        self.binaries = binaries
        self.account = account
        self.log = log
        self.options = tuple(options)

    @property
    @abstractmethod
    def command(self) -> list[str]:
        """The program and its arguments."""

    @abstractmethod
    def prepare(self) -> None:
        """Make or check the files before a start."""

    @abstractmethod
    def is_ready(self) -> bool:
        """Tell whether it answers."""

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start the program without waiting for it."""
        return spawn(
            self.command,
            # None of our keys and addresses reaches an engine.
            environment={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
            log=self.log,
            account=self.account,
            death_signal=self.stop_signal,
        )

    def hand_over(self, path: Path) -> None:
        """Let the engine's account own a directory."""
        if self.account:
            os.chown(path, self.account.uid, self.account.gid)


class Postgres(Engine):
    """PostgreSQL. SIGINT is its fast, clean stop; SIGQUIT the one that recovers."""

    name = "postgres"
    stop_signal = signal.SIGINT
    last_signal = signal.SIGQUIT

    @property
    def command(self) -> list[str]:
        """The postmaster; trust is fine where only we can reach the socket."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.layout.sockets),
            "unix_socket_permissions": "0700",
            "timezone": "UTC",
            "log_timezone": "UTC",
            # Statements and the details of errors quote what was sent: goals, and
            # what somebody searched for.
            "log_min_error_statement": "panic",
            "log_error_verbosity": "terse",
        }
        arguments = [f"--{name}={value}" for name, value in settings.items()]
        program = self.binaries.postgres_bin / "postgres"
        return [
            str(program),
            "-D",
            str(self.layout.postgres_data),
            *arguments,
            *self.options,
        ]

    def prepare(self) -> None:
        """Make the cluster if there is none, refuse one of another version."""
        directory = self.layout.postgres_data
        if not directory.exists():
            self._initialise(directory)
        found = (directory / "PG_VERSION").read_text().strip()
        if found != POSTGRES_MAJOR:
            raise EngineError(
                f"The data in {directory} was written by PostgreSQL {found}; this "
                f"version of OctoLLM brings PostgreSQL {POSTGRES_MAJOR}. Dump it with "
                "the version that wrote it, or choose another --data-dir."
            )
        clear_stale_pid_file(directory)
        # A second file of the same kind, with the same trap: a PID is believed.
        for left_over in self.layout.sockets.glob(".s.PGSQL.*"):
            left_over.unlink()

    def _initialise(self, directory: Path) -> None:
        partial = directory.with_suffix(".part")
        shutil.rmtree(partial, ignore_errors=True)  # an earlier try was cut off
        partial.mkdir(mode=0o700)
        self.hand_over(partial)
        # The builtin locale is the same on every system, with or without locales.
        self._run(
            "initdb",
            f"--pgdata={partial}",
            f"--username={ROLE}",
            "--auth=trust",
            "--encoding=UTF8",
            "--locale=C",
            "--locale-provider=builtin",
            "--builtin-locale=C.UTF-8",
            "--no-sync",
            "--no-instructions",
        )
        partial.rename(directory)

    def is_ready(self) -> bool:
        """Tell whether our database can be used; makes it at the first time."""
        program = str(self.binaries.postgres_bin / "pg_isready")
        where = (f"--host={self.layout.sockets}", f"--username={ROLE}")
        asked = run([program, "--timeout=1", "--dbname=postgres", *where])
        if asked.returncode != 0:
            return False
        marker = self.layout.postgres_data / "octollm.database"
        if not marker.exists():
            self._run("createdb", DATABASE, *where, accept="already exists")
            marker.touch(mode=0o600)
        return True

    def _run(self, program: str, *arguments: str, accept: str = "") -> None:
        path = self.binaries.postgres_bin / program
        done = run([str(path), *arguments], account=self.account)
        is_accepted = bool(accept) and accept in done.stderr
        if done.returncode != 0 and not is_accepted:
            raise EngineError(f"{program} failed: {done.stderr.strip()}")


class Valkey(Engine):
    """Valkey. SIGTERM makes it flush its append-only file."""

    name = "valkey"
    stop_signal = signal.SIGTERM
    last_signal = signal.SIGKILL

    @property
    def command(self) -> list[str]:
        """The server: what was written survives, and nothing is ever evicted.

        Any eviction policy but ``noeviction`` would drop queue messages silently.
        """
        settings = {
            "port": "0",
            "unixsocket": str(self.layout.valkey_socket),
            "unixsocketperm": "700",
            "dir": str(self.layout.valkey_data),
            "appendonly": "yes",
            "appendfsync": "everysec",
            "save": "",
            "maxmemory-policy": "noeviction",
            "daemonize": "no",
            "databases": "16",
        }
        arguments = [
            text for item in settings.items() for text in (f"--{item[0]}", item[1])
        ]
        return [str(self.binaries.valkey_server), *arguments, *self.options]

    def prepare(self) -> None:
        """Make its directory and remove the socket that a killed server left."""
        directory = self.layout.valkey_data
        if not directory.exists():
            directory.mkdir(mode=0o700)
            self.hand_over(directory)
        self.layout.valkey_socket.unlink(missing_ok=True)

    def is_ready(self) -> bool:
        """Tell whether it answers a ping; it does not while it loads."""
        try:
            with socket.socket(socket.AF_UNIX) as connection:
                connection.settimeout(1.0)
                connection.connect(str(self.layout.valkey_socket))
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False


def prepare_home(layout: EngineLayout, account: Account | None) -> Binaries:
    """Make the engines' home and return binaries that the account can run.

    The account may pass through home (0711) but not write there.
    """
    home = layout.home
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    home.chmod(0o711 if account else 0o700)
    _make_socket_directory(layout.sockets, account)
    return usable_binaries(layout.binaries, account)


def _make_socket_directory(directory: Path, account: Account | None) -> None:
    """Make it reachable by us and the engines alone; refuse somebody else's."""
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid():
        raise EngineError(f"{directory} belongs to somebody else; remove it")
    if account:
        os.chown(directory, os.geteuid(), account.gid)
    directory.chmod(0o770 if account else 0o700)


def start(
    engine: Engine, *, sleep: Callable[[float], None] = time.sleep
) -> subprocess.Popen[bytes]:
    """Prepare and start an engine; return when it answers.

    ``sleep`` may raise to give up; the engine is stopped then.

    Raises:
        EngineError: it ended, or did not answer in time; the log's end is quoted.
    """
    began = time.monotonic()
    while True:
        engine.prepare()
        log_start = engine.log.stat().st_size if engine.log.exists() else 0
        process = engine.spawn()
        try:
            if _await_ready(engine, process, sleep):
                return process
        except BaseException:
            stop(engine, process)
            raise
        kill_group(process)
        with engine.log.open("rb") as log:
            log.seek(log_start)
            said = log.read()
        is_passing = any(message in said for message in _PASSING_MESSAGES)
        if not is_passing or time.monotonic() - began > _PASSING_TIMEOUT_S:
            raise EngineError(
                f"{engine.name} did not start; the end of {engine.log}:\n"
                + said[-1000:].decode(errors="replace").strip()
            )
        sleep(0.5)


def _await_ready(
    engine: Engine,
    process: subprocess.Popen[bytes],
    sleep: Callable[[float], None],
) -> bool:
    deadline = time.monotonic() + START_TIMEOUT_S
    while process.poll() is None and time.monotonic() < deadline:
        if engine.is_ready():
            return True
        sleep(0.02)
    return False


def stop(
    engine: Engine, process: subprocess.Popen[bytes], *, timeout_s: float = 10.0
) -> None:
    """Stop an engine cleanly, by force when it takes longer than ``timeout_s``."""
    signal_process(process, engine.stop_signal)
    if wait_all([process], timeout_s=timeout_s):
        signal_process(process, engine.last_signal)
        # After SIGQUIT the postmaster kills its backends within 5 s.
        wait_all([process], timeout_s=6.0)
    kill_group(process)
