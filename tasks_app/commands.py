"""``octollm demo``: the sample goal on the sample reviews, shown live."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from octollm.joining import DataDir, ExitCode, join_with_django
from tasks_app import repair_commands

app = typer.Typer()
app.add_typer(repair_commands.app)


@app.command()
def demo(
    *,
    first: Annotated[
        bool, typer.Option(help="Called by `up`: ingest the sample reviews before.")
    ] = False,
    url: Annotated[
        str, typer.Option(help="The web process, when no embedded system runs.")
    ] = "http://127.0.0.1:8000",
    data_dir: DataDir = None,
) -> None:
    """Submit the sample goal to a running system and show how it goes.

    The reviews are a sample that was written for this project. They are ingested on
    embedded data only, once; elsewhere the goal works on documents of one's own.
    """
    instance = join_with_django(data_dir)
    from tasks_app.demo import run_demo  # needs Django

    is_good = run_demo(
        base_url=instance.base_url if instance else url,
        ingests=instance is not None,
        out=sys.stdout,
    )
    if not is_good:
        raise typer.Exit(ExitCode.FAILED)
    if first:
        typer.echo("The system stays up. `make demo` submits the goal again.")
