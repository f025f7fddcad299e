"""A whole system of its own for a chaos run, gone without a trace at its end."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import NoReturn

from django.db import connection
from django.test.utils import setup_databases

from arms.registry_models import ArmInstance
from octollm.access.keys import create_key
from octollm.embedded.up import free_port
from tests.chaos.arms import ArmPlace, arm_places, setting_of
from tests.chaos.fleet import Fleet
from tests.chaos.told import Address
from tests.engines import FAST_POSTGRES, engine_home
from tests.waiting import wait_until


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What runs, and how to speak to it.

    Attributes:
        arms: elsewhere, that everybody knows.
        home: for files of the run; goes with it.
    """

    fleet: Fleet
    arms: Sequence[ArmPlace]
    home: Path
    address: Address


@contextmanager
def stage(
    *,
    environment: Mapping[str, str],
    workers: int,
    has_arms: bool = False,
    logs: Path | None = None,
    postgres_options: tuple[str, ...] = FAST_POSTGRES,
) -> Iterator[Stage]:
    """Have engines, a web server and workers run.

    Args:
        environment: comes on top of the tests' own.
        has_arms: whether there are arms elsewhere, too.
        logs: where the processes' logs stay, if they are to.
    """
    with engine_home(postgres_options=postgres_options) as place:
        logs = logs or place.home / "logs"
        logs.mkdir(parents=True, exist_ok=True)
        arms = arm_places(place.home) if has_arms else []
        own = place.engines.environment(**environment, **setting_of(arms))
        fleet = Fleet(
            place,
            environment=own,
            port=free_port("127.0.0.1", 0),
            workers=workers,
            arms=[arm.program(own, logs=logs) for arm in arms],
            logs=logs,
        )
        with fleet.running():
            setup_databases(verbosity=0, interactive=False)
            _, token = create_key(owner_name="chaos", name="chaos")
            fleet.start_programs()
            wait_until(lambda: _are_known(arms), timeout_s=60)
            try:
                yield Stage(
                    fleet=fleet,
                    arms=arms,
                    home=place.home,
                    address=Address(
                        base_url=f"http://127.0.0.1:{fleet.port}", token=token
                    ),
                )
            finally:
                connection.close()


def _are_known(arms: Sequence[ArmPlace]) -> bool:
    """Tell whether a worker has found the arms well."""
    names = {arm.name for arm in arms}
    healthy = ArmInstance.objects.filter(arm_id__in=names, state="healthy")
    return healthy.count() == len(names)


def stop_in_order() -> None:
    """Let a SIGTERM or SIGHUP unwind what was begun, as Ctrl-C does."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)


def _stop(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
