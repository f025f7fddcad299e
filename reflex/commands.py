"""``octollm reflex`` and ``octollm vault``: screen, serve, look after the keys."""

from __future__ import annotations

import json
import os
import secrets
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from octollm.embedded.instance import data_dir as default_data_dir
from octollm.embedded.instance import read_keys
from octollm.joining import (
    DataDir,
    ExitCode,
    join_with_django,
    names_engine,
    refuse,
)
from octollm.programs import become, wsgi_command

if TYPE_CHECKING:  # it needs Django, which a command sets up when it runs
    from reflex.rotation import Tally

app = typer.Typer()
reflex = typer.Typer(help="Screen texts, here or as a service.", no_args_is_help=True)
vault = typer.Typer(help="Look after the keys of the vault.", no_args_is_help=True)
app.add_typer(reflex, name="reflex")
app.add_typer(vault, name="vault")

SETTINGS = "reflex.serving_settings"
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_CHECKPOINTS = ("request", "document", "tool_output", "model_output")


@reflex.command()
def serve(
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8080,
    workers: Annotated[int, typer.Option(min=1, help="Processes.")] = 1,
    threads: Annotated[int, typer.Option(min=1, help="Threads in each.")] = 4,
) -> None:
    """Serve /process, /health, /ready and /metrics; needs no database."""
    has_token = any(
        os.environ.get(name)
        for name in ("OCTOLLM_REFLEX_TOKEN", "OCTOLLM_REFLEX_TOKEN_FILE")
    )
    if host not in _LOOPBACK and not has_token:
        refuse(
            "set OCTOLLM_REFLEX_TOKEN: without one only programs on this machine are "
            f"answered, and {host} is not it"
        )
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    if workers > 1:
        _let_them_agree()
    become(
        wsgi_command(
            "reflex.serving:application",
            host=host,
            port=port,
            workers=workers,
            threads=threads,
        )
    )


def _let_them_agree() -> None:
    """Give several processes one key for their hashes and one place for metrics."""
    if not names_engine("OCTOLLM_HMAC_KEY") and read_keys(default_data_dir()) is None:
        os.environ["OCTOLLM_HMAC_KEY"] = secrets.token_urlsafe(48)
    if not os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
        place = tempfile.mkdtemp(prefix="octollm-reflex-")
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = place


@reflex.command()
def scan(
    file: Annotated[str, typer.Argument(help="A text file; - reads standard input.")],
    *,
    checkpoint: Annotated[
        str, typer.Option(help=f"One of: {', '.join(_CHECKPOINTS)}.")
    ] = "request",
    redaction: Annotated[
        str,
        typer.Option(
            help="Print the text without its values as well: placeholder, mask, "
            "partial, hash or remove."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Say what is in a text; exit with 3 if a request with it would be blocked."""
    if checkpoint not in _CHECKPOINTS:
        refuse(f"--checkpoint must be one of: {', '.join(_CHECKPOINTS)}")
    text = _read(file)
    os.environ["DJANGO_SETTINGS_MODULE"] = SETTINGS
    import django  # nothing else here needs it

    django.setup()
    from reflex import scanning

    if redaction not in ("", *scanning.STYLES):
        refuse(f"--redaction must be one of: {', '.join(scanning.STYLES)}")
    answer = scanning.scan(text, checkpoint=checkpoint, redaction=redaction)
    if as_json:
        typer.echo(json.dumps(answer, ensure_ascii=False))
    else:
        for line in scanning.table(text, answer):
            typer.echo(line)
    if answer["action"] == "block":
        raise typer.Exit(ExitCode.BLOCKED)


def _read(file: str) -> str:
    try:
        content = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
    except OSError as error:
        refuse(f"{file} cannot be read: {error.strerror}")
    # What is no UTF-8 is screened all the same, each such byte as one sign.
    return content.decode("utf-8", "surrogateescape")


@vault.command()
def rotate(*, data_dir: DataDir = None) -> None:
    """Wrap every scope's key by the first of OCTOLLM_VAULT_KEYS.

    Put the new key in front, restart all processes, run this, then drop the old one.
    """
    join_with_django(data_dir)
    from reflex import rotation  # needs Django

    tally = rotation.rotate()
    typer.echo(f"{tally.rotated} keys wrapped anew, {tally.current} were already.")
    _tell_lost(tally)


@vault.command()
def check(*, data_dir: DataDir = None) -> None:
    """Say whether every scope's key can be unwrapped, and which cannot."""
    join_with_django(data_dir)
    from reflex import rotation  # needs Django

    tally = rotation.check()
    typer.echo(
        f"{tally.current} keys are wrapped by the first of OCTOLLM_VAULT_KEYS, "
        f"{tally.rotated} by another of them."
    )
    _tell_lost(tally)


def _tell_lost(tally: Tally) -> None:
    for scope_id in tally.lost:
        typer.echo(
            f"octollm: the key of {scope_id} cannot be unwrapped by any of "
            "OCTOLLM_VAULT_KEYS; its values are lost unless that key comes back.",
            err=True,
        )
    if tally.lost:
        raise typer.Exit(ExitCode.FAILED)
