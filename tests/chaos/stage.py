"""A whole system of its own for a chaos run, gone without a trace at its end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from django.db import connection
from django.test.utils import setup_databases

from octollm.access.keys import create_key
from octollm.embedded.up import free_port
from tests.chaos.fleet import Fleet
from tests.engines import FAST_POSTGRES, engine_home


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What runs, and how to speak to it.

    Attributes:
        home: for files of the run; goes with it.
        token: an API key.
    """

    fleet: Fleet
    home: Path
    base_url: str
    token: str


@contextmanager
def stage(
    *,
    environment: Mapping[str, str],
    workers: int,
    logs: Path | None = None,
    postgres_options: tuple[str, ...] = FAST_POSTGRES,
) -> Iterator[Stage]:
    """Have engines, a web server and workers run.

    ``environment`` comes on top of the tests' own; ``logs`` is where the processes'
    logs stay, if they are to.
    """
    with engine_home(postgres_options=postgres_options) as place:
        logs = logs or place.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        fleet = Fleet(
            place,
            environment=place.engines.environment(**environment),
            port=free_port("127.0.0.1", 0),
            workers=workers,
            logs=logs,
        )
        with fleet.running():
            setup_databases(verbosity=0, interactive=False)
            _, token = create_key(owner_name="chaos", name="chaos")
            fleet.start_programs()
            try:
                yield Stage(
                    fleet=fleet,
                    home=place.home,
                    base_url=f"http://127.0.0.1:{fleet.port}",
                    token=token,
                )
            finally:
                connection.close()


def stop_in_order() -> None:
    """Let a SIGTERM or SIGHUP unwind what was begun, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
