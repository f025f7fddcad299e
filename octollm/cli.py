"""The ``octollm`` command.

Each package of the project may have a module ``commands`` with a typer application
named ``app``; its commands appear here. Such a module imports no Django at its top,
so that ``octollm up`` and ``--help`` start without it: see `octollm.joining`.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Annotated

import typer

from octollm import __version__
from octollm.errors import DeadlineExceededError, OctoLLMError, TaskRejectedError
from octollm.joining import ExitCode, NotRunningError

PACKAGES = ("octollm", "octollm.access", "reflex", "arms", "planner", "tasks_app")
_EXIT_CODES: tuple[tuple[type[OctoLLMError], ExitCode], ...] = (
    (NotRunningError, ExitCode.UNREACHABLE),
    (TaskRejectedError, ExitCode.BLOCKED),
    (DeadlineExceededError, ExitCode.TIMED_OUT),
)


def application() -> typer.Typer:
    """Return the command line with the commands of every package."""
    app = typer.Typer(
        name="octollm",
        help="OctoLLM: submit a goal, get a judged result with evidence and cost.",
        no_args_is_help=True,
        add_completion=False,
        # They print local variables, and those hold keys.
        pretty_exceptions_enable=False,
    )
    app.callback()(_options)
    for package in PACKAGES:
        if find_spec(f"{package}.commands"):
            app.add_typer(import_module(f"{package}.commands").app)
    return app


def _show_version(is_wanted: bool) -> None:  # noqa: FBT001  # typer's callback
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    *,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def main() -> None:
    """Run the command line; errors raised on purpose become one line and a code."""
    try:
        application()()
    except OctoLLMError as error:
        typer.echo(f"octollm: {error.message}", err=True)
        sys.exit(exit_code(error))
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)
    except BrokenPipeError:
        # The reader of our output went away; the interpreter would complain again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitCode.FAILED)
    except Exception as error:
        if not _is_database_away(error):
            raise
        typer.echo("octollm: the database is not available.", err=True)
        sys.exit(ExitCode.UNREACHABLE)


def _is_database_away(error: Exception) -> bool:
    """Tell by the class, if Django is there at all: commands may run without it."""
    database = sys.modules.get("django.db.utils")
    return database is not None and isinstance(error, database.OperationalError)


def exit_code(error: OctoLLMError) -> ExitCode:
    """Return the exit code that tells of an error."""
    for kind, code in _EXIT_CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.FAILED
