"""``octollm arm list | drain | disable | enable | weigh``: what an operator types."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from octollm.joining import DataDir, join_with_django, refuse, who

if TYPE_CHECKING:  # the models need Django, which a command sets up when it runs
    from arms.registry_models import ArmInstance
    from arms.standing import BreakerState, Places

Arm = Annotated[str, typer.Argument(help="The arm's name.")]
Location = Annotated[
    str | None,
    typer.Argument(help="Its address, or in-process; needless if there is one only."),
]
Reason = Annotated[str, typer.Option(help="Why, for the record.")]


def register(group: typer.Typer) -> None:
    """Add these commands to the group ``octollm arm``."""
    group.command("list")(list_instances)
    for command in (drain, disable, enable, weigh):
        group.command()(command)


def list_instances(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    data_dir: DataDir = None,
) -> None:
    """List the instances of all arms with how they are."""
    join_with_django(data_dir)
    from arms.registry_models import ArmInstance  # needs Django
    from arms.standing import CLOSED, breakers_of, places_of

    rows = list(ArmInstance.objects.defer("token"))
    breakers, places = breakers_of(rows), places_of(rows)
    shown = [
        _described(row, breakers.get(row.pk, CLOSED), places.get(row.pk))
        for row in rows
    ]
    if as_json:
        typer.echo(json.dumps(shown))
        return
    for each in shown:
        typer.echo(_line(each))


def drain(
    arm: Arm,
    location: Location = None,
    *,
    reason: Reason = "",
    data_dir: DataDir = None,
) -> None:
    """Give an instance nothing new; it answers for what it has."""
    join_with_django(data_dir)
    from arms import operating  # needs Django

    instance = _instance(arm, location)
    is_new = operating.drain(instance.pk, by=who(), reason=reason)
    typer.echo(f"{_name(instance)} {'drains.' if is_new else 'drained already.'}")


def disable(
    arm: Arm,
    location: Location = None,
    *,
    reason: Reason = "",
    data_dir: DataDir = None,
) -> None:
    """Leave an instance alone at once, also with what it does now."""
    join_with_django(data_dir)
    from arms import operating  # needs Django

    instance = _instance(arm, location)
    is_new = operating.disable(instance.pk, by=who(), reason=reason)
    word = "is disabled." if is_new else "was disabled already."
    typer.echo(f"{_name(instance)} {word}")


def enable(
    arm: Arm,
    location: Location = None,
    *,
    reason: Reason = "",
    data_dir: DataDir = None,
) -> None:
    """Let an instance that was set aside be probed at once, and then asked."""
    join_with_django(data_dir)
    from arms import operating  # needs Django

    instance = _instance(arm, location)
    is_new = operating.enable(instance.pk, by=who(), reason=reason)
    word = "is probed now." if is_new else f"was not set aside: {instance.state}."
    typer.echo(f"{_name(instance)} {word}")


def weigh(
    arm: Arm,
    location: Location = None,
    *,
    weight: Annotated[int, typer.Option(help="Its share of the calls, 1 to 100.")],
    data_dir: DataDir = None,
) -> None:
    """Set an instance's share of the calls beside the others'."""
    join_with_django(data_dir)
    from arms import operating  # needs Django

    instance = _instance(arm, location)
    try:
        operating.reweigh(instance.pk, weight, by=who())
    except ValueError as error:
        refuse(str(error))
    typer.echo(f"{_name(instance)} has the weight {weight}.")


def _instance(arm: str, location: str | None) -> ArmInstance:
    """Return the instance that is meant, or end the command."""
    from arms.registry_models import ArmInstance  # needs Django

    found = list(ArmInstance.objects.filter(arm_id=arm))
    if not found:
        refuse(f"there is no instance of an arm {arm}")
    if location is None and len(found) > 1:
        refuse(f"which one: {', '.join(each.location for each in found)}")
    wanted = found[0].location if location is None else location.rstrip("/")
    meant = [each for each in found if each.location == wanted]
    if not meant:
        refuse(f"the arm {arm} is not at {wanted}")
    return meant[0]


def _name(instance: ArmInstance) -> str:
    return f"{instance.arm_id} at {instance.location}"


def _described(
    row: ArmInstance, breaker: BreakerState, places: Places | None
) -> dict[str, Any]:
    # Named one by one: the row holds a token.
    return {
        "id": str(row.pk),
        "arm": row.arm_id,
        "location": row.location,
        "source": row.source,
        "state": row.state,
        "detail": row.detail,
        "weight": row.weight,
        "latency_ms": row.latency_ms,
        "breaker": breaker.state,
        "taken": places.taken if places else 0,
        "places": places.all if places else None,
        "checked_at": row.checked_at and row.checked_at.isoformat(),
    }


def _line(each: dict[str, Any]) -> str:
    line = f"{each['arm']}  {each['location']}  {each['state']}"
    line += f"  weight {each['weight']}"
    if each["latency_ms"] is not None:
        line += f"  {each['latency_ms']:.0f} ms"
    if each["places"] is not None:
        line += f"  {each['taken']} of {each['places']} places taken"
    if each["breaker"] != "closed":
        line += f"  breaker {each['breaker'].replace('_', ' ')}"
    # An arm elsewhere wrote it; a terminal takes control characters as orders.
    detail = "".join(sign for sign in each["detail"] if sign.isprintable())
    return f"{line}  {detail}".rstrip()
