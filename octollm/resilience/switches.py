"""What an operator has stopped, since when, and why.

``maintenance`` stops all claiming: what runs goes on to its end, unless it is to be
given back at once, which is the kill switch. ``owner:<id>`` stops one owner; see
``access/owners.py``. A switch that stands is a row; ended ones stay as the record.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils.module_loading import import_string
from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from octollm.resilience.models import Switch
from octollm.types import JSONObject

logger = logging.getLogger(__name__)

MAINTENANCE = "maintenance"
OWNER_PREFIX = "owner:"

# For the statements of those who ask at each claim.
NO_MAINTENANCE = f"""
NOT EXISTS (SELECT 1 FROM switches WHERE name = '{MAINTENANCE}' AND ended_at IS NULL)
"""  # noqa: S608  # our own name
# Two operators at the same moment: whoever wants it at once is heard.
_STAND = """
INSERT INTO switches (name, by, reason, is_now) VALUES (%s, %s, %s, %s)
ON CONFLICT (name) WHERE ended_at IS NULL
DO UPDATE SET is_now = switches.is_now OR excluded.is_now
"""
_followers: list[str] = []


def waited(since: str, owner: str) -> str:
    """Return how long something has waited, without the time in which it had to.

    ``since`` and the owner's id are SQL, and so is the interval that is returned. Where
    two switches stood at once, that time counts twice: it errs towards patience.
    """
    return f"""
    clock_timestamp() - {since} - COALESCE((
        SELECT sum(COALESCE(w.ended_at, clock_timestamp()) - greatest(w.since, {since}))
        FROM switches w
        WHERE w.name IN ('{MAINTENANCE}', '{OWNER_PREFIX}' || {owner})
        AND (w.ended_at IS NULL OR w.ended_at > {since})
    ), interval '0')
    """  # noqa: S608  # SQL of our own code


def register_follower(path: str) -> None:
    """Name a function to call once a switch was turned, by its dotted path.

    It takes the switch and returns how many running attempts it gave back.
    """
    if path not in _followers:
        _followers.append(path)


def turn_on(name: str, *, by: str, reason: str = "", is_now: bool = False) -> int:
    """Stop something; return how many running attempts were given back.

    One that stands already is ended, and stands again with the new reason.
    """
    return follow(note_on(name, by=by, reason=reason, is_now=is_now))


def turn_off(name: str, *, by: str) -> bool:
    """Let something go on; false when it was not stopped."""
    switch = note_off(name, by=by)
    if switch is not None:
        follow(switch)
    return switch is not None


def note_on(name: str, *, by: str, reason: str = "", is_now: bool = False) -> Switch:
    """Record that something is stopped; ``follow`` belongs after the commit."""
    values: Any = [name, by[:200], reason[:500], is_now]
    with transaction.atomic():
        _end(name, by=by)
        with connection.cursor() as cursor:
            cursor.execute(_STAND, values)
        switch = Switch.objects.get(name=name, ended_at=None)
    _log("a switch was turned on: %s", switch, by=by)
    return switch


def note_off(name: str, *, by: str) -> Switch | None:
    """Record that something goes on; ``follow`` belongs after the commit."""
    with transaction.atomic():
        switch = standing(name)
        if switch is None or not _end(name, by=by):
            return None
        switch.refresh_from_db()
    _log("a switch was turned off: %s", switch, by=by)
    return switch


def follow(switch: Switch) -> int:
    """Have whoever registered act on it; return how many attempts were given back."""
    return sum(import_string(path)(switch) for path in _followers)


def standing(name: str) -> Switch | None:
    """Return the switch that stands under a name."""
    return Switch.objects.filter(name=name, ended_at=None).first()


def described(switch: Switch | None) -> JSONObject | None:
    """Return who turned a switch, when and why, for commands to print."""
    if switch is None:
        return None
    return {
        "since": switch.since.isoformat(),
        "by": switch.by,
        "reason": switch.reason,
        "is_now": switch.is_now,
    }


def say_maintenance() -> tuple[bool, str]:
    """Tell ``/ready`` whether maintenance is on; the process is ready all the same."""
    return True, "on" if standing(MAINTENANCE) else ""


def collect() -> Iterable[Metric]:
    """Return whether maintenance is on, and how many owners are stopped."""
    stood = Switch.objects.filter(ended_at=None).values_list("name", flat=True)
    names = set(stood)
    return [
        GaugeMetricFamily(
            "octollm_maintenance",
            "1 while maintenance is on and nothing is claimed.",
            value=float(MAINTENANCE in names),
        ),
        GaugeMetricFamily(
            "octollm_owners_stopped",
            "Owners whose work an operator has stopped.",
            value=float(len(names - {MAINTENANCE})),
        ),
    ]


def _end(name: str, *, by: str) -> int:
    now_standing = Switch.objects.filter(name=name, ended_at=None)
    return now_standing.update(ended_at=Now(), ended_by=by[:200])


def _log(text: str, switch: Switch, *, by: str) -> None:
    logger.warning(
        text,
        switch.name,
        extra={"by": by, "reason": switch.reason, "is_now": switch.is_now},
    )
