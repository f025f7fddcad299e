"""``octollm arm``: serve an arm of ours elsewhere, and check anybody's."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octollm.joining import DataDir, ExitCode, join_with_django, refuse

if TYPE_CHECKING:  # the check kit needs Django, which a command sets up when it runs
    from arms.check_kit import Finding

arm = typer.Typer(
    help="Serve arms, check them, and operate their instances.", no_args_is_help=True
)
_ANYWHERE = ("0.0.0.0", "::")  # noqa: S104  # compared, not bound
_MARKS = {"passed": "ok", "failed": "FAILED", "skipped": "-"}


_Url = Annotated[
    str | None, typer.Option(help="Where workers reach it (default: http://HOST:PORT).")
]
_Api = Annotated[
    str, typer.Option(help="The API that is told, such as http://octollm:8000.")
]
_Key = Annotated[
    str,
    typer.Option(
        help="An API key with the scope arms or arm:NAME; better in the variable.",
        envvar="OCTOLLM_ARM_KEY",
        show_envvar=True,
    ),
]
_Weight = Annotated[
    int | None, typer.Option(min=1, max=100, help="Its share of the calls.")
]


@arm.command()
def serve(  # noqa: PLR0913  # a command's options
    name: Annotated[str, typer.Argument(help="An arm of OCTOLLM_ARMS.")],
    *,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="0 chooses a free one.")
    ] = 8090,
    url: _Url = None,
    announce_to: _Api = "",
    key: _Key = "",
    threads: Annotated[int, typer.Option(min=1, help="Requests at a time.")] = 16,
    weight: _Weight = None,
    data_dir: DataDir = None,
) -> None:
    """Run one arm of ours as an HTTP service of its own, until SIGTERM."""
    if announce_to and url is None and host in _ANYWHERE:
        refuse("say by --url where workers reach it")
    if key:
        os.environ["OCTOLLM_ARM_KEY"] = key
    join_with_django(data_dir)
    _refuse_unusable(name, announce_to)
    from arms import registry  # needs Django
    from arms.served.process import Serving
    from arms.served.process import serve as run
    from octollm.embedded import tether
    from octollm.embedded.up import free_port

    tether.hold()
    # The server itself would share a port with whoever listens there.
    port = free_port(host, port)
    shown = f"[{host}]" if ":" in host else host
    serving = Serving(
        host=host,
        port=port,
        url=(url or f"http://{shown}:{port}").rstrip("/"),
        places=threads,
        announce_to=announce_to,
        weight=weight,
    )
    run(registry.get_arm(name), serving)


def _refuse_unusable(name: str, announce_to: str) -> None:
    """End the command where the arm could be reached by nobody."""
    from django.conf import settings  # needs Django

    from arms import registry

    if name not in {spec.name for spec in registry.local_catalogue()}:
        refuse(f"OCTOLLM_ARMS has no arm {name}")
    if announce_to and not settings.OCTOLLM_ARM_KEY:
        refuse("an announcement takes a key: OCTOLLM_ARM_KEY")
    if not announce_to and not settings.OCTOLLM_ARM_TOKEN:
        refuse("without --announce-to nobody learns the token: set OCTOLLM_ARM_TOKEN")


@arm.command()
def check(
    url: Annotated[str, typer.Argument(help="Where the arm is.")],
    *,
    token: Annotated[
        str,
        typer.Option(
            help="The bearer token that it wants.",
            envvar="OCTOLLM_ARM_TOKEN",
            show_envvar=True,
        ),
    ] = "",
    capability: Annotated[
        str | None, typer.Option(help="What to ask for (default: its first).")
    ] = None,
    input_file: Annotated[
        Path | None,
        typer.Option(
            "--input",
            exists=True,
            dir_okay=False,
            help="JSON to send (default: made from the input's schema).",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Try whether an arm keeps the contract; it does some steps of its work.

    Needs no system: neither a database nor an API.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "octollm.settings")
    import django

    django.setup()
    from arms.check_kit import Asked, check_arm

    given = _input_in(input_file) if input_file else None
    findings = check_arm(
        Asked(url=url, token=token, capability=capability, input=given)
    )
    if as_json:
        typer.echo(json.dumps([finding.as_json() for finding in findings], indent=2))
    else:
        _print(findings)
    if any(finding.outcome == "failed" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)


def _input_in(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text())
    except ValueError:
        refuse(f"{path} is no JSON")
    if not isinstance(given, dict):
        refuse(f"{path} holds no JSON object")
    return given


def _print(findings: list[Finding]) -> None:
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        mark = _MARKS[finding.outcome]
        typer.echo(f"{mark:<7} {finding.name:<{width}}  {finding.means}")
        if finding.detail:
            typer.echo(f"{'':<8}{'':<{width}}  → {finding.detail}")
    counts = [finding.outcome for finding in findings]
    typer.echo(
        f"{counts.count('passed')} passed, {counts.count('failed')} failed, "
        f"{counts.count('skipped')} skipped."
    )
