"""A task's story from its rows, in the order of time; ids and codes, no texts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from itertools import chain
from typing import Any
from uuid import UUID

from reflex.models import Screening
from tasks_app.models import (
    NANO_PER_USD,
    Charge,
    EventCheckpoint,
    Plan,
    TaskEvent,
    Tombstone,
)


@dataclass(frozen=True, kw_only=True)
class Moment:
    """Something that happened: when, of what kind, and what in a line."""

    at: datetime
    kind: str
    text: str

    def __str__(self) -> str:
        """Show it in a line."""
        at = self.at.astimezone(UTC).isoformat(sep=" ", timespec="milliseconds")
        return f"{at}  {self.kind:<10}  {self.text}"


def story_of(task_id: UUID) -> list[Moment]:
    """Return what is kept of a task's life; empty when nothing is.

    Approvals and the ends of steps are events; what came before a checkpoint is gone.
    """
    sources = (_checkpoints, _events, _screenings, _plans, _charges, _tombstones)
    moments = chain.from_iterable(source(task_id) for source in sources)
    return sorted(moments, key=lambda moment: moment.at)


def _checkpoints(task_id: UUID) -> Iterator[Moment]:
    for row in EventCheckpoint.objects.filter(pk=task_id):
        yield Moment(
            at=row.at,
            kind="checkpoint",
            text=f"events 1 to {row.seq} were removed; the task was {row.status}",
        )


def _events(task_id: UUID) -> Iterator[Moment]:
    for row in TaskEvent.objects.filter(task_id=task_id):
        details = " ".join(f"{key}={_plain(row.data[key])}" for key in row.data)
        text = f"{row.seq} {row.type} {details}".rstrip()
        yield Moment(at=row.at, kind="event", text=text)


def _screenings(task_id: UUID) -> Iterator[Moment]:
    for row in Screening.objects.filter(scope_id=task_id).defer("findings"):
        rules = ", ".join(row.rule_ids) or "no rule"
        text = f"{row.checkpoint}: {row.action} by {rules}"
        yield Moment(at=row.created_at, kind="screening", text=text)


def _plans(task_id: UUID) -> Iterator[Moment]:
    for row in Plan.objects.filter(task_id=task_id):
        text = (
            f"version {row.version} from {row.source}, {len(row.step_ids)} steps, "
            f"estimated at ${row.total_estimated_cost:.6f}"
        )
        yield Moment(at=row.created_at, kind="plan", text=text)


def _charges(task_id: UUID) -> Iterator[Moment]:
    for row in Charge.objects.filter(task_id=task_id).defer("reply"):
        tokens = row.input_tokens + row.output_tokens
        text = (
            f"{row.purpose} by {row.model}: {row.state}, "
            f"{_dollars(row.settled_nano)}, {tokens} tokens"
        )
        yield Moment(at=row.created_at, kind="charge", text=text)


def _tombstones(task_id: UUID) -> Iterator[Moment]:
    for row in Tombstone.objects.filter(pk=task_id):
        text = (
            f"deleted by {row.deleted_by} after {row.seq} events; it was {row.status}, "
            f"spent {_dollars(row.spent_nano)} and {row.spent_tokens} tokens"
        )
        yield Moment(at=row.deleted_at, kind="tombstone", text=text)


def _dollars(nano: int) -> str:
    return f"${Decimal(nano) / NANO_PER_USD:.9f}"


def _plain(value: Any) -> str:
    return ",".join(map(str, value)) if isinstance(value, list) else str(value)
