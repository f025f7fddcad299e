"""``octollm audit``: whether what is stored is what was signed, and a task's story."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated
from uuid import UUID

import typer

from octollm.joining import DataDir, ExitCode, join_with_django

if TYPE_CHECKING:  # it needs Django, which a command sets up when it runs
    from tasks_app.audit import Break, Tally

audit = typer.Typer(help="Look into what happened.", no_args_is_help=True)


@audit.command()
def verify(
    *,
    task: Annotated[UUID | None, typer.Option(help="Only this task.")] = None,
    since: Annotated[
        float | None,
        typer.Option(min=0, help="Only what changed in so many days, or is open."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON object a line, the sum last.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Verify every chain of events, checkpoint, tombstone and seal; 1 on a break."""
    join_with_django(data_dir)
    from tasks_app.audit import Selection, Tally, verify  # needs Django

    moment = None if since is None else datetime.now(UTC) - timedelta(days=since)
    tally = Tally()
    for found in verify(tally, Selection(task_id=task, since=moment)):
        typer.echo(_json_of(found) if as_json else str(found))
    typer.echo(_json_of(tally) if as_json else str(tally))
    if tally.breaks:
        raise typer.Exit(ExitCode.FAILED)


@audit.command()
def show(
    task_id: Annotated[UUID, typer.Argument(help="Whose story.")],
    *,
    data_dir: DataDir = None,
) -> None:
    """Print a task's story in the order of time: ids and codes, no texts."""
    join_with_django(data_dir)
    from tasks_app.story import story_of  # needs Django

    story = story_of(task_id)
    for moment in story:
        typer.echo(str(moment))
    if not story:
        typer.echo("octollm: nothing is kept of such a task.", err=True)
        raise typer.Exit(ExitCode.FAILED)


def _json_of(row: Break | Tally) -> str:
    return json.dumps(asdict(row), default=str)
