"""The engines of a test run, and processes that share them with the tests."""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from octollm.embedded import engines, tether
from octollm.embedded.account import engine_account
from octollm.embedded.engines import Engine, Postgres, Valkey, prepare_home
from octollm.embedded.layout import engine_layout
from octollm.embedded.processes import spawn

# Nothing here must survive a power cut; what is committed survives a kill.
FAST_POSTGRES = ("--fsync=off", "--full_page_writes=off")
TEST_DATABASE = "test_octollm"


@dataclass(frozen=True, kw_only=True)
class TestEngines:
    """Where the run's engines are.

    Attributes:
        home: the run's own directory; goes with the run.
        database_url: of the server's maintenance database, not the tests' one.
    """

    __test__ = False

    home: Path
    database_url: str
    redis_url: str

    def database_url_of(self, database_name: str) -> str:
        """Return the address of another database of the same server."""
        return urlunsplit(
            urlsplit(self.database_url)._replace(path=f"/{database_name}")
        )

    def environment(
        self, database_name: str = TEST_DATABASE, **extra: str
    ) -> dict[str, str]:
        """Return the environment of a child process that shares these engines."""
        return {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": "tests.settings",
            "OCTOLLM_TEST_HOME": str(self.home),
            "OCTOLLM_TEST_DATABASE_URL": self.database_url_of(database_name),
            "OCTOLLM_TEST_REDIS_URL": self.redis_url,
            "OCTOLLM_DATABASE_URL": self.database_url_of(database_name),
            "OCTOLLM_REDIS_URL": self.redis_url,
            "PYTHONPATH": str(Path(__file__).resolve().parent.parent),
            **extra,
        }

    def python(
        self, *arguments: str, log: Path, environment: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start ``python ARGUMENTS`` on these engines; it cannot outlive the run.

        It has a process group of its own: end it by ``kill_group`` of
        ``octollm.embedded.processes``, which takes its children along.
        """
        return spawn(
            [sys.executable, *arguments],
            environment=environment or self.environment(),
            log=log,
        )


@dataclass(frozen=True, kw_only=True)
class EngineHome:
    """A run's own directory with engines that nobody has started yet."""

    home: Path
    postgres: Postgres
    valkey: Valkey

    @property
    def engines(self) -> TestEngines:
        """Where they are once they run."""
        layout = self.postgres.layout
        return TestEngines(
            home=self.home,
            database_url=layout.database_url,
            redis_url=layout.redis_url,
        )


@contextlib.contextmanager
def engine_home(
    *, postgres_options: tuple[str, ...] = FAST_POSTGRES
) -> Iterator[EngineHome]:
    """Make the run's directory and tie the run to it; remove it at exit."""
    home = Path(os.environ["OCTOLLM_TEST_HOME"])
    remove_abandoned(home.parent)
    with contextlib.ExitStack() as cleanup:
        # 0711: as root the engines run as nobody and must pass through.
        home.mkdir(mode=0o700)
        cleanup.callback(shutil.rmtree, home, ignore_errors=True)
        home.chmod(0o711)  # not in mkdir, where a umask would cut it
        cleanup.enter_context(tether.tie(home / "lock"))
        layout = engine_layout(home / "engines")
        account = engine_account()
        binaries = prepare_home(layout, account)
        yield EngineHome(
            home=home,
            postgres=Postgres(
                layout,
                binaries=binaries,
                account=account,
                log=home / "postgres.log",
                options=postgres_options,
            ),
            valkey=Valkey(
                layout, binaries=binaries, account=account, log=home / "valkey.log"
            ),
        )


@contextlib.contextmanager
def running_engines(
    *, postgres_options: tuple[str, ...] = FAST_POSTGRES
) -> Iterator[TestEngines]:
    """Start those engines that the environment does not name, stop them at exit."""
    named_database = os.environ.get("OCTOLLM_TEST_DATABASE_URL")
    named_redis = os.environ.get("OCTOLLM_TEST_REDIS_URL")
    with (
        engine_home(postgres_options=postgres_options) as place,
        contextlib.ExitStack() as cleanup,
    ):
        if not named_database:
            _start(place.postgres, cleanup)
        if not named_redis:
            _start(place.valkey, cleanup)
        yield TestEngines(
            home=place.home,
            database_url=named_database or place.engines.database_url,
            redis_url=named_redis or place.engines.redis_url,
        )


def _start(engine: Engine, cleanup: contextlib.ExitStack) -> None:
    process = engines.start(engine)
    cleanup.callback(engines.stop, engine, process)


def remove_abandoned(parent: Path) -> None:
    """Remove directories of runs that were killed: nobody holds their lock."""
    for home in parent.glob("octollm-tests-*"):
        if not re.fullmatch(r"octollm-tests-[0-9a-f]{16}", home.name):
            continue
        with contextlib.suppress(OSError), (home / "lock").open() as lock:
            if home.lstat().st_uid == os.geteuid():
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(home, ignore_errors=True)
