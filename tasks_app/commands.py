"""The commands of tasks: a demo, runs, switches, ledger, audit, repair."""

from __future__ import annotations

import sys
from decimal import Decimal, InvalidOperation
from typing import Annotated
from uuid import UUID

import typer

from octollm.joining import DataDir, ExitCode, join_with_django, refuse
from tasks_app import repair_commands, run_commands, switch_commands
from tasks_app.audit_commands import audit

app = typer.Typer()
app.add_typer(repair_commands.app)
app.add_typer(switch_commands.app)
app.add_typer(run_commands.tasks, name="tasks")
app.add_typer(run_commands.steps, name="steps")
app.add_typer(audit, name="audit")
ledger = typer.Typer(help="Look after what was booked.", no_args_is_help=True)
app.add_typer(ledger, name="ledger")


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


@ledger.command()
def correct(
    charge: Annotated[UUID, typer.Argument(help="The charge's id.")],
    *,
    cost_usd: Annotated[str, typer.Option(help="What the call really cost.")],
    reason: Annotated[str, typer.Option(help="Why; 200 characters at most.")],
    data_dir: DataDir = None,
) -> None:
    """Book a charge anew at what it really cost, also when its task has ended.

    The task's ledger shows it as corrected; the event says the reason and what stood
    there before. The owner's cap follows.
    """
    join_with_django(data_dir)
    from tasks_app.ledger import correct_charge  # needs Django
    from tasks_app.models import Charge

    try:
        corrected = correct_charge(charge, cost_usd=Decimal(cost_usd), reason=reason)
    except Charge.DoesNotExist:
        refuse("no such charge")
    except InvalidOperation:
        refuse("the cost is no number")
    except ValueError as error:
        refuse(str(error))
    typer.echo(f"Booked at {corrected.settled_nano / Decimal(10**9):.9f} USD.")
