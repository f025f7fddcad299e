"""``octollm up``: the whole system from one command. Imports no Django.

The order of a start: lock, keys, engines, migrations (only if something changed),
web, and, once that answers, workers. The order of a stop is the reverse.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import sys
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from pathlib import Path

from octollm import __version__
from octollm.embedded import tether
from octollm.embedded.account import engine_account
from octollm.embedded.engines import Postgres, Valkey, prepare_home
from octollm.embedded.errors import EmbeddedError
from octollm.embedded.instance import Instance, ensure_keys, write_instance
from octollm.embedded.layout import EngineLayout, engine_layout
from octollm.embedded.logs import tail
from octollm.embedded.place import engines_home, fresh_directory, held
from octollm.embedded.services import Answer, Program, ask
from octollm.embedded.stamp import is_prepared, mark_prepared
from octollm.embedded.supervisor import Kind, StopRequestedError, Supervisor
from octollm.joining import names_engine
from octollm.programs import web_command, worker_command, worker_environment

READY_TIMEOUT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class UpOptions:
    """What the command line says.

    Attributes:
        port: 0 chooses a free one.
        workers: Dramatiq masters, each of one process.
    """

    data_dir: Path
    host: str = "127.0.0.1"
    port: int = 8000
    workers: int = 2
    with_demo: bool = True


def up(options: UpOptions) -> None:
    """Run the system until somebody asks to stop.

    Raises:
        EmbeddedError: it could not start, or could not go on; it is stopped.
    """
    began = time.monotonic()
    account = engine_account()
    directory = options.data_dir
    with held(directory, account):
        # What a killed one left names a tether of the same name as ours.
        (directory / "up.json").unlink(missing_ok=True)
        run = fresh_directory(directory / "run")
        (directory / "logs").mkdir(mode=0o700, exist_ok=True)
        ensure_keys(directory)
        supervisor = Supervisor(say)
        system = System(options, supervisor)
        try:
            # The tether goes last: it ends by force what an ordered stop left.
            with tether.tie(run / "tether"), supervisor.in_charge():
                system.run(began)
        finally:
            system.tidy()


class System:
    """The parts of one running system and how they are started."""

    def __init__(self, options: UpOptions, supervisor: Supervisor) -> None:
        """Settle names and addresses; start nothing."""
        self._options = options
        self._supervisor = supervisor
        self._logs = options.data_dir / "logs"
        self._port = free_port(options.host, options.port)
        self._layout: EngineLayout | None = None  # of the engines that are ours
        self._database: Postgres | None = None  # nothing when it is not ours
        self._instance_file = options.data_dir / "up.json"
        prometheus = fresh_directory(options.data_dir / "run" / "prom")
        self._environment = {
            "DJANGO_SETTINGS_MODULE": "octollm.settings",
            "OCTOLLM_DATA_DIR": str(options.data_dir),
            "PROMETHEUS_MULTIPROC_DIR": str(prometheus),
            **log_environment(),
        }

    def run(self, began: float) -> None:
        """Start everything and watch it until somebody asks to stop."""
        try:
            say(f"OctoLLM {__version__}: starting")
            self._start_engines()
            self._prepare()
            self._start_web()
            say(f"ready in {time.monotonic() - began:.1f} s")
            self._start_workers()
            self._publish()
            self._tell_addresses()
            self._start_demo()
            self._supervisor.watch()
        except StopRequestedError:
            say("stopping (press Ctrl-C again to stop programs at once)")
        finally:
            self._instance_file.unlink(missing_ok=True)

    def tidy(self) -> None:
        """Remove the sockets' directory where it is in /tmp, now that all ended."""
        if self._layout and self._layout.sockets.parent != self._layout.home:
            shutil.rmtree(self._layout.sockets, ignore_errors=True)

    def _start_engines(self) -> None:
        """Start those engines that the environment does not name."""
        has_postgres = not names_engine("OCTOLLM_DATABASE_URL")
        has_valkey = not names_engine("OCTOLLM_REDIS_URL")
        if not has_postgres and not has_valkey:
            return
        account = engine_account()
        layout = engine_layout(engines_home(self._options.data_dir, account))
        self._layout = layout
        binaries = prepare_home(layout, account)
        if has_postgres:
            log = self._logs / "postgres.log"
            self._database = Postgres(
                layout, binaries=binaries, account=account, log=log
            )
            self._supervisor.start_engine(self._database)
            self._environment["OCTOLLM_DATABASE_URL"] = layout.database_url
        if has_valkey:
            log = self._logs / "valkey.log"
            self._supervisor.start_engine(
                Valkey(layout, binaries=binaries, account=account, log=log)
            )
            self._environment["OCTOLLM_REDIS_URL"] = layout.redis_url

    def _prepare(self) -> None:
        """Migrate unless nothing changed; tell of the account made at first start.

        Somebody else's database may change without us, so that is always asked.
        """
        cluster = self._database.layout.postgres_data if self._database else None
        if cluster and is_prepared(cluster):
            return
        written = self._options.data_dir / "run" / "made.json"
        say("  preparing the database")
        errand = self._program(
            "prepare", [sys.executable, "-m", "octollm.embedded.prepare", str(written)]
        )
        child = self._supervisor.start(errand, Kind.ERRAND)
        if self._supervisor.await_end(child) != 0:
            raise EmbeddedError(
                f"The database could not be prepared; the end of {errand.log}:\n"
                + tail(errand.log)
            )
        made = json.loads(written.read_text())
        written.unlink()
        if made:
            # At once: whatever goes wrong after this, it is not shown again.
            say("Made at this first start and shown only now:")
            say(f"  operator's account  {made['username']}  {made['password']}")
            say(f"  API key             {made['key']}")
        if cluster:
            mark_prepared(cluster)

    def _start_web(self) -> None:
        """Start the web process and wait until it says that all is well."""
        host, port = self._options.host, self._port
        web = self._program("web", web_command(host=host, port=port))

        def answers() -> bool:
            # When it is started again; that asks for no database, /ready does.
            return ask(reachable(host), port, "/health").status == HTTPStatus.OK

        child = self._supervisor.start(replace(web, probe=answers))
        last = Answer(status=0, body="")

        def is_ready() -> bool:
            nonlocal last
            last = ask(reachable(host), port, "/ready")
            return last.status == HTTPStatus.OK

        try:
            self._supervisor.await_ready(child, is_ready, timeout_s=READY_TIMEOUT_S)
        except EmbeddedError as error:
            said = f"\n/ready says {last.status}: {last.body}" if last.status else ""
            raise EmbeddedError(error.message + said) from error

    def _start_workers(self) -> None:
        """Start the masters; a killed one does not take the others along."""
        environment = {**self._child_environment, **worker_environment()}
        for number in range(1, self._options.workers + 1):
            program = self._program(f"worker-{number}", worker_command())
            self._supervisor.start(replace(program, environment=environment))

    def _publish(self) -> None:
        """Let other commands join."""
        environment = self._child_environment
        instance = Instance(
            pid=os.getpid(),
            database_url=environment.get("OCTOLLM_DATABASE_URL", ""),
            redis_url=environment.get("OCTOLLM_REDIS_URL", ""),
            base_url=self._base_url,
            prometheus_dir=environment["PROMETHEUS_MULTIPROC_DIR"],
            tether=environment[tether.VARIABLE],
        )
        write_instance(self._options.data_dir, instance)

    def _tell_addresses(self) -> None:
        url, data = self._base_url, self._options.data_dir
        say(f"  API    {url}/")
        say(f"  docs   {url}/docs")
        say(f"  admin  {url}/admin/")
        say(f"  data   {data} (logs in {self._logs})")
        if self._layout and data not in self._layout.home.parents:
            say(f"         the engines' data is in {self._layout.home}")
        say("  stop   Ctrl-C")

    def _start_demo(self) -> None:
        """Show the sample goal, on embedded data only; no failure of it matters."""
        if self._options.with_demo and self._database:
            demo = self._program(
                "the demo", [sys.executable, "-m", "octollm", "demo", "--first"]
            )
            self._supervisor.start(replace(demo, is_on_terminal=True), Kind.ERRAND)

    def _program(self, name: str, command: list[str]) -> Program:
        return Program(
            name=name,
            command=command,
            environment=self._child_environment,
            log=self._logs / f"{name}.log",
        )

    @property
    def _child_environment(self) -> dict[str, str]:
        return {**os.environ, **self._environment}

    @property
    def _base_url(self) -> str:
        host = reachable(self._options.host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self._port}"


def say(line: str) -> None:
    """Tell the person at the terminal, if there still is one."""
    with contextlib.suppress(OSError):
        print(line, flush=True)  # noqa: T201  # this is the command's output


def reachable(host: str) -> str:
    """Return an address at which a server that listens on ``host`` answers."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # compared only
    return everywhere.get(host, host)


def free_port(host: str, port: int) -> int:
    """Return the port, or a free one for 0.

    Raises:
        EmbeddedError: somebody else listens there.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        # As granian does: what only waits for its last packets is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise EmbeddedError(
                f"Cannot listen on {host}:{port} ({error.strerror}); choose another "
                "--port."
            ) from error
        chosen: int = probe.getsockname()[1]
        return chosen


def log_environment() -> dict[str, str]:
    """Return how children log: plain lines when a person started us."""
    if "OCTOLLM_LOG_FORMAT" in os.environ or not sys.stdout.isatty():
        return {}
    return {"OCTOLLM_LOG_FORMAT": "console"}
