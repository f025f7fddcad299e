"""``octollm owners``: cap, limit, stop and start owners."""

from __future__ import annotations

import json
from decimal import Decimal, InvalidOperation
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octollm.joining import DataDir, join_with_django, refuse, who

if TYPE_CHECKING:  # the models need Django, which a command sets up when it runs
    from octollm.access.models import Owner

owners = typer.Typer(help="Cap, limit, stop and start owners.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="The owner's name.")]


@owners.command("list")
def list_owners(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the owners with their limits, and who is stopped and why."""
    join_with_django(data_dir)
    from octollm.access.models import Owner  # needs Django

    rows = [_described(owner) for owner in Owner.objects.all()]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        limit = row["max_running"] or "any number"
        line = f"{row['name']}  runs {limit} at once"
        stop = row["stopped"]
        if stop:
            line += f"  stopped since {stop['since']} by {stop['by']} {stop['reason']}"
        typer.echo(line.rstrip())


@owners.command()
def cap(
    owner: Name,
    *,
    monthly_usd: Annotated[
        str, typer.Option(help="Dollars a month (UTC), or `none` for no cap.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Set what the tasks that an owner submits in one month may take together.

    It counts tasks that are submitted from now on.
    """
    join_with_django(data_dir)
    from octollm.access.owners import set_cap  # needs Django

    try:
        set_cap(owner, None if monthly_usd == "none" else Decimal(monthly_usd))
    except InvalidOperation:
        refuse("the cap is no number; `none` lifts it")
    except ValueError as error:
        refuse(str(error))
    typer.echo(f"The cap of {owner}: {monthly_usd}")


@owners.command()
def limit(
    name: Name,
    *,
    running: Annotated[
        str, typer.Option(help="How many steps may run at once, or `none`.")
    ],
    data_dir: DataDir = None,
) -> None:
    """Limit how many steps of an owner run at once."""
    join_with_django(data_dir)
    from octollm.access.owners import limit as limit_owner  # needs Django

    if running != "none" and not running.isdecimal():
        refuse("give a number, or none")
    try:
        limit_owner(_named(name), None if running == "none" else int(running))
    except ValueError as error:
        refuse(str(error))
    shown = "any number" if running == "none" else running
    typer.echo(f"Of {name}, {shown} of steps may run at once.")


@owners.command()
def stop(
    name: Name,
    *,
    now: Annotated[
        bool, typer.Option("--now", help="Give back what runs, too.")
    ] = False,
    reason: Annotated[str, typer.Option(help="Why, for the record.")] = "",
    data_dir: DataDir = None,
) -> None:
    """Start nothing of an owner and refuse its submissions; others go on."""
    join_with_django(data_dir)
    from octollm.access.owners import stop as stop_owner  # needs Django

    count = stop_owner(_named(name), by=who(), reason=reason, is_now=now)
    given_back = f" {count} steps were given back." if now else ""
    typer.echo(f"{name} is stopped.{given_back}")


@owners.command()
def start(name: Name, *, data_dir: DataDir = None) -> None:
    """Let a stopped owner go on."""
    join_with_django(data_dir)
    from octollm.access.owners import start as start_owner  # needs Django

    is_changed = start_owner(_named(name), by=who())
    typer.echo(f"{name} goes on." if is_changed else f"{name} was not stopped.")


def _named(name: str) -> Owner:
    from octollm.access.models import Owner  # needs Django

    owner = Owner.objects.filter(name=name).first()
    if owner is None:
        refuse("there is no owner of that name")
    return owner


def _described(owner: Owner) -> dict[str, Any]:
    from octollm.access.owners import scope_of  # needs Django
    from octollm.resilience.switches import described, standing

    return {
        "id": str(owner.pk),
        "name": owner.name,
        "is_active": owner.is_active,
        "max_running": owner.max_running,
        "stopped": (
            described(standing(scope_of(owner.pk))) if owner.stopped_at else None
        ),
    }
