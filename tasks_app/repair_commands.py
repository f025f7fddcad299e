"""``octollm repair``: find what should not be, and mend it."""

from __future__ import annotations

import json
from collections import Counter
from typing import Annotated

import typer

from octollm.joining import DataDir, ExitCode, join_with_django

app = typer.Typer()


@app.command()
def repair(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be mended.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """Find tasks, steps and ledgers that are not as they should be, and mend them.

    Safe while the system runs. Exits with 1 when a dry run finds something.
    """
    join_with_django(data_dir)
    from tasks_app.repair import RULES  # needs Django
    from tasks_app.repair import repair as mend

    counts: Counter[str] = Counter()
    for fault in mend(dry_run=dry_run):
        counts[fault.rule.name] += 1
        if as_json:
            found = {"rule": fault.rule.name, "task_id": str(fault.task_id)}
            typer.echo(json.dumps(found | {"mended": fault.is_mended}))
        else:
            done = "mended" if fault.is_mended else "found"
            typer.echo(f"{done}: task {fault.task_id}: {fault.rule.says}")
    what = ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))
    typer.echo(f"{len(RULES)} rules; {what or 'nothing is amiss'}.", err=True)
    if dry_run and counts:
        raise typer.Exit(ExitCode.FAILED)
