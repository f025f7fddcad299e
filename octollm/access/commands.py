"""``octollm keys`` and ``octollm owners``: who may use the system, and how much."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octollm.access import DEFAULT_OWNER
from octollm.access.owner_commands import owners
from octollm.joining import DataDir, join_with_django, refuse

if TYPE_CHECKING:  # the models need Django, which a command sets up when it runs
    from octollm.access.models import ApiKey

app = typer.Typer()
keys = typer.Typer(help="Make, list and revoke API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")
app.add_typer(owners, name="owners")

AsJSON = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@keys.command()
def create(
    *,
    name: Annotated[str, typer.Option(help="What the key is for.")],
    owner: Annotated[str, typer.Option(help="For whom it acts.")] = DEFAULT_OWNER,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="Narrow it to `metrics`, `screen`, `arms` (announce instances of any "
            "arm) or `arm:NAME` (of one); without, it has the full API, and announces "
            "nothing."
        ),
    ] = None,
    expires_days: Annotated[
        float | None, typer.Option(help="Days until it expires; never, if not given.")
    ] = None,
    as_json: AsJSON = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key and print it; it cannot be shown again."""
    join_with_django(data_dir)
    from octollm.access.keys import create_key  # needs Django

    try:
        key, token = create_key(
            owner_name=owner,
            name=name,
            scopes=scope or (),
            expires_in=None if expires_days is None else timedelta(days=expires_days),
        )
    except (ValueError, OverflowError) as error:
        refuse(str(error))
    if as_json:
        typer.echo(json.dumps({"key": token, **_described(key)}))
        return
    typer.echo(token)
    typer.echo(f"Keep it: only its hash is stored. Owner: {key.owner.name}", err=True)


@keys.command("list")
def list_keys(*, as_json: AsJSON = False, data_dir: DataDir = None) -> None:
    """List the keys, newest first."""
    join_with_django(data_dir)
    from octollm.access.models import ApiKey  # needs Django

    rows = [_described(key) for key in ApiKey.objects.select_related("owner")]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    for row in rows:
        scopes = ",".join(row["scopes"]) or "full"
        line = f"{row['prefix']}…  {row['state']:<8} {scopes:<8} "
        typer.echo(f"{line}{row['owner']}  {row['name']}")


@keys.command()
def revoke(
    key: Annotated[str, typer.Argument(help="Its id, or the prefix that is shown.")],
    *,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key for good."""
    join_with_django(data_dir)
    from octollm.access.keys import find_named, revoke_keys

    found = find_named(key)
    if len(found) != 1:
        refuse("several keys begin so; give the id" if found else "no such key")
    if revoke_keys([found[0].pk]):
        typer.echo(f"Revoked {found[0]}.")
    else:
        typer.echo(f"{found[0]} was revoked before.")


def _described(key: ApiKey) -> dict[str, Any]:
    return {
        "id": str(key.pk),
        "prefix": key.prefix,
        "name": key.name,
        "owner": key.owner.name,
        "scopes": key.scopes,
        "state": key.state,
        "created_at": _moment(key.created_at),
        "expires_at": _moment(key.expires_at),
        "last_used_at": _moment(key.last_used_at),
    }


def _moment(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
