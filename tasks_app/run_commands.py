"""``octollm tasks`` and ``octollm steps``: look at what stopped, and let it go on."""

from __future__ import annotations

import json
from typing import Annotated
from uuid import UUID

import typer

from octollm.joining import DataDir, ExitCode, join_with_django

tasks = typer.Typer(help="Look at tasks and retry them.", no_args_is_help=True)
steps = typer.Typer(help="Look at steps that are dead.", no_args_is_help=True)

AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]
TaskId = Annotated[UUID, typer.Argument(help="The task's id.", show_default=False)]


@steps.command()
def dead(
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, newest first.")] = 100,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """List the steps that used up their attempts, with the reason."""
    join_with_django(data_dir)
    from tasks_app.inspecting import dead_steps  # needs Django

    found = dead_steps(limit)
    if as_json:
        typer.echo(json.dumps(found))
        return
    for step in found:
        typer.echo(
            f"{step['task_id']}  {step['step_id']}  {step['arm']}.{step['capability']}  "
            f"{step['attempts']} attempts  {step['at']}  "
            f"{step['error_code']}: {step['error_message']}"
        )
    typer.echo(f"{len(found)} dead. `octollm tasks retry TASK_ID` replays.", err=True)


@tasks.command()
def retry(task_id: TaskId, *, data_dir: DataDir = None) -> None:
    """Let a failed task go on from what failed; what is done is not run again."""
    join_with_django(data_dir)
    from tasks_app.models import Task  # needs Django
    from tasks_app.runs import retry_task

    try:
        retry_task(task_id)
    except Task.DoesNotExist:
        _refuse_unknown()
    typer.echo(f"{task_id} goes on.", err=True)


@tasks.command()
def show(task_id: TaskId, *, data_dir: DataDir = None) -> None:
    """Print a task with its steps and every attempt, as JSON; nothing is revealed."""
    join_with_django(data_dir)
    from tasks_app.inspecting import inspect_task  # needs Django
    from tasks_app.models import Task

    try:
        found = inspect_task(task_id)
    except Task.DoesNotExist:
        _refuse_unknown()
    else:
        typer.echo(json.dumps(found, indent=2))


def _refuse_unknown() -> None:
    typer.echo("octollm: there is no such task.", err=True)
    raise typer.Exit(ExitCode.FAILED)
