"""Commands that start processes: the web server, workers, migrations."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from octollm.embedded.instance import data_dir as default_data_dir
from octollm.embedded.up import UpOptions
from octollm.embedded.up import up as run_up
from octollm.joining import DataDir, join, join_with_django
from octollm.programs import (
    WORKER_QUEUES,
    become,
    web_command,
    worker_command,
    worker_environment,
)

app = typer.Typer()


@app.command()
def up(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 chooses a free one.")
    ] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Worker processes.")] = 2,
    demo: Annotated[bool, typer.Option(help="Run the sample goal.")] = True,
    data_dir: Annotated[
        Path | None,
        typer.Option(help="Where it keeps everything (default: .octollm)."),
    ] = None,
) -> None:
    """Run the whole system on embedded engines until Ctrl-C."""
    run_up(
        UpOptions(
            data_dir=(data_dir or default_data_dir()).absolute(),
            host=host,
            port=port,
            workers=workers,
            with_demo=demo,
        )
    )


@app.command()
def worker(
    *,
    queues: Annotated[
        str, typer.Option(help="Queues to serve, separated by commas.")
    ] = ",".join(WORKER_QUEUES),
    threads: Annotated[int, typer.Option(min=1, help="Messages at a time.")] = 4,
    data_dir: DataDir = None,
) -> None:
    """Run a worker for a system, on this machine or another."""
    join(data_dir)
    os.environ.update(worker_environment(threads=threads))
    names = [name.strip() for name in queues.split(",") if name.strip()]
    become(worker_command(queues=names, threads=threads))


@app.command()
def web(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 2,
    threads: Annotated[int, typer.Option(min=1, help="Threads in each.")] = 4,
    data_dir: DataDir = None,
) -> None:
    """Run the web process for a system."""
    join(data_dir)
    become(web_command(host=host, port=port, workers=workers, threads=threads))


@app.command()
def migrate(*, data_dir: DataDir = None) -> None:
    """Bring the database's tables up to this version."""
    join_with_django(data_dir)
    from django.core.management import call_command  # after join

    call_command("migrate", interactive=False, stdout=sys.stderr)
