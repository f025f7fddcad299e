"""How a command joins the system that it is about.

Commands import this module at their top: it imports no Django. What needs Django is
imported inside the command's function, after `join`.
"""

from __future__ import annotations

import getpass
import os
from enum import IntEnum
from pathlib import Path
from typing import Annotated, ClassVar, NoReturn

import typer

from octollm.embedded import tether
from octollm.embedded.instance import Instance, data_dir, read_instance
from octollm.errors import OctoLLMError


class ExitCode(IntEnum):
    """What a command's exit code says."""

    OK = 0
    FAILED = 1
    USAGE = 2
    BLOCKED = 3
    TIMED_OUT = 4
    UNREACHABLE = 5


class NotRunningError(OctoLLMError):
    """There is no running system to join."""

    code = "not_running"
    is_transient: ClassVar[bool] = True


DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        help="Directory of the running system (default: $OCTOLLM_DATA_DIR, .octollm).",
        show_default=False,
    ),
]


def join(directory: Path | None = None) -> Instance | None:
    """Point this process at a system and return the embedded one, if it is that.

    The settings read what the environment names first and what the running
    ``octollm up`` published second; so do the children of this process.

    Raises:
        NotRunningError: neither names a database.
    """
    if directory is not None:
        os.environ["OCTOLLM_DATA_DIR"] = str(directory.absolute())
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "octollm.settings")
    instance = read_instance(data_dir())
    if instance is not None:
        # One directory for all processes, or /metrics would not add up.
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", instance.prometheus_dir)
        os.environ.setdefault(tether.VARIABLE, instance.tether)
    elif not names_engine("OCTOLLM_DATABASE_URL"):
        raise NotRunningError(
            f"No system runs in {data_dir()}. Start one with `octollm up`, name its "
            "--data-dir, or set OCTOLLM_DATABASE_URL and OCTOLLM_REDIS_URL."
        )
    return instance


def join_with_django(directory: Path | None = None) -> Instance | None:
    """Join a system and make its models usable in this process."""
    instance = join(directory)
    import django  # commands without a database start without it

    django.setup()
    return instance


def who() -> str:
    """Return which account runs this command, for what is recorded of it."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a container's user without an entry
        name = f"uid {os.getuid()}"
    return f"{name} at the command line"


def names_engine(variable: str) -> bool:
    """Tell whether the environment names an engine, in the open or by a file."""
    return bool(os.environ.get(variable) or os.environ.get(f"{variable}_FILE"))


def refuse(message: str) -> NoReturn:
    """End a command whose words are off, with one line that says why."""
    typer.echo(f"octollm: {message}", err=True)
    raise typer.Exit(ExitCode.USAGE)
