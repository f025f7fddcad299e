"""The chain of a task's events: each one signs itself and the one before.

Source: the construction is that of a hash chain with a keyed hash (HMAC, RFC 2104),
so that who can write the table but has no key cannot forge or drop an event.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol
from uuid import UUID

from octollm.types import JSONObject
from reflex.fingerprints import fingerprint


class Event(Protocol):
    """What the chain needs of an event row."""

    seq: int
    type: str
    at: datetime
    data: JSONObject
    mac: str


def sign(
    previous: str,
    *,
    task_id: UUID,
    seq: int,
    type_: str,
    at: datetime,
    data: JSONObject,
) -> str:
    """Return the MAC of an event, 64 hexadecimal digits.

    ``previous`` is the MAC of the event before, empty for the first one.
    """
    moment = at.astimezone(UTC).isoformat(timespec="microseconds")
    return fingerprint(
        [previous, str(task_id), seq, type_, moment, data], purpose="event"
    )


@dataclass(frozen=True, kw_only=True)
class Link:
    """The event that a chain goes on behind: its number and its MAC."""

    seq: int
    mac: str


BEGINNING = Link(seq=0, mac="")


def first_break(
    task_id: UUID, events: Iterable[Event], *, head: str, after: Link = BEGINNING
) -> int | None:
    """Return the number where a task's chain breaks, or nothing when it holds.

    ``events`` come in order from the number behind ``after``, which is that of a
    checkpoint where older events were removed; ``head`` is the MAC that the task row
    keeps, so that a missing tail is noticed too (the number after the last one).
    """
    previous, expected = after.mac, after.seq + 1
    for event in events:
        mac = sign(
            previous,
            task_id=task_id,
            seq=event.seq,
            type_=event.type,
            at=event.at,
            data=event.data,
        )
        if event.seq != expected or not hmac.compare_digest(mac, event.mac):
            return expected
        previous, expected = event.mac, expected + 1
    return None if hmac.compare_digest(previous, head) else expected
