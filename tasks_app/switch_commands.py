"""``octollm maintenance`` and ``octollm stop-all``: let nothing start, let nothing run."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from octollm.joining import DataDir, join_with_django, who

app = typer.Typer()
maintenance = typer.Typer(
    help="Let no step start; what is submitted waits.", no_args_is_help=True
)
app.add_typer(maintenance, name="maintenance")

Reason = Annotated[str, typer.Option(help="Why, for the record.")]


@maintenance.command()
def on(
    *,
    reason: Reason = "",
    now: Annotated[
        bool, typer.Option("--now", help="Give back what runs, too: the kill switch.")
    ] = False,
    data_dir: DataDir = None,
) -> None:
    """Claim nothing more; what runs goes on to its end."""
    join_with_django(data_dir)
    _turn_on(reason=reason, is_now=now)


@app.command("stop-all")
def stop_all(*, reason: Reason = "", data_dir: DataDir = None) -> None:
    """Claim nothing more and give back what runs, so that nothing more is spent."""
    join_with_django(data_dir)
    _turn_on(reason=reason, is_now=True)


@maintenance.command()
def off(*, data_dir: DataDir = None) -> None:
    """Let workers claim again."""
    join_with_django(data_dir)
    from octollm.resilience import switches  # needs Django

    is_changed = switches.turn_off(switches.MAINTENANCE, by=who())
    typer.echo("Maintenance is off." if is_changed else "Maintenance was not on.")


@maintenance.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Say whether maintenance is on, what still runs and what waits."""
    join_with_django(data_dir)
    from octollm.resilience import switches  # needs Django
    from tasks_app.models import Step

    stood = switches.described(switches.standing(switches.MAINTENANCE))
    running = Step.objects.filter(status=Step.Status.RUNNING).count()
    waiting = Step.objects.filter(status=Step.Status.READY).count()
    if as_json:
        shown = {"maintenance": stood, "running": running, "waiting": waiting}
        typer.echo(json.dumps(shown))
        return
    line = "Maintenance is off."
    if stood:
        line = f"Maintenance is on since {stood['since']} by {stood['by']}."
        line += f" {stood['reason']}" if stood["reason"] else ""
    typer.echo(line)
    typer.echo(f"{running} steps run, {waiting} wait.")


def _turn_on(*, reason: str, is_now: bool) -> None:
    from octollm.resilience import switches  # needs Django
    from tasks_app.models import Step

    count = switches.turn_on(
        switches.MAINTENANCE, by=who(), reason=reason, is_now=is_now
    )
    running = Step.objects.filter(status=Step.Status.RUNNING).count()
    given_back = f" {count} steps were given back." if is_now else ""
    typer.echo(f"Maintenance is on.{given_back} {running} steps run.")
