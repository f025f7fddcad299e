"""Commands for knowledge and arms: ``octollm ingest`` and ``octollm arm``."""

from __future__ import annotations

import json
from itertools import islice
from pathlib import Path
from typing import Annotated

import typer

from arms import operating_commands
from arms.arm_commands import arm
from octollm.access import DEFAULT_OWNER
from octollm.joining import DataDir, join_with_django

app = typer.Typer()
operating_commands.register(arm)
app.add_typer(arm, name="arm")
_BATCH = 100


@app.command()
def ingest(
    path: Annotated[
        Path, typer.Argument(exists=True, help="A .txt, .md, .csv, .json or .jsonl.")
    ],
    *,
    collection: Annotated[
        str | None, typer.Option(help="Its collection (default: the file's name).")
    ] = None,
    owner: Annotated[
        str, typer.Option(help="Whose documents they are.")
    ] = DEFAULT_OWNER,
    data_dir: DataDir = None,
) -> None:
    """Take in the documents of a file or directory; print one JSON object each."""
    join_with_django(data_dir)
    from arms.knowledge.documents import ingest_all  # needs Django
    from arms.knowledge.files import find_files, read_documents
    from octollm.access.keys import get_or_create_owner

    scope = get_or_create_owner(owner).pk
    stored = repeated = 0
    for file in find_files(path):
        documents = read_documents(file, collection)
        while batch := list(islice(documents, _BATCH)):
            for answer in ingest_all(scope, batch):
                typer.echo(json.dumps(answer.as_json()))
                stored += answer.duplicate_of is None
                repeated += answer.duplicate_of is not None
    typer.echo(f"{stored} documents stored, {repeated} were there already.", err=True)
