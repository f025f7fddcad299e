"""The receipt of a cancellation: what was asked, stopped, settled and spent after it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from tasks_app.models import Task

# A worker that never came back to say that its call ended is gone when its lease is:
# it took the connection along.
_CALLS = """
SELECT count(*),
       count(*) FILTER (WHERE a.late_at IS NULL
                        AND a.finished_at > clock_timestamp() - %(lease)s),
       max(COALESCE(a.late_at, a.finished_at + %(lease)s)),
       (SELECT count(*) FROM charges WHERE task_id = %(task)s AND state = 'held'),
       (SELECT max(settled_at) FROM charges WHERE task_id = %(task)s)
FROM attempts a JOIN steps s ON s.id = a.step_id
WHERE s.task_id = %(task)s AND a.outcome = 'cancelled'
AND a.finished_at >= %(since)s
"""


@dataclass(frozen=True, kw_only=True)
class Receipt:
    """How far a cancellation is.

    Attributes:
        calls: how many attempts were under way when it was asked for.
        aborted_at: when the last of them had stopped; ``None`` while one runs.
        settled_at: when each call was booked after that. The amounts are final then,
            but for a provider's figure that comes later and corrects a presumed one.
    """

    requested_at: datetime
    calls: int
    aborted_at: datetime | None
    settled_at: datetime | None

    @property
    def state(self) -> str:
        """``requested``, ``aborted`` or ``settled``."""
        if self.settled_at is not None:
            return "settled"
        return "requested" if self.aborted_at is None else "aborted"


def cancellation_of(task: Task) -> Receipt | None:
    """Return the receipt, or nothing when nobody cancelled the task."""
    requested_at = task.cancel_requested_at
    if requested_at is None:
        return None
    calls, running, stopped_at, held, booked_at = _calls_of(task, since=requested_at)
    aborted_at = settled_at = None
    if not running:
        aborted_at = max(stopped_at or requested_at, requested_at)
    if aborted_at is not None and not held:
        settled_at = max(booked_at or aborted_at, aborted_at)
    return Receipt(
        requested_at=requested_at,
        calls=calls,
        aborted_at=aborted_at,
        settled_at=settled_at,
    )


def _calls_of(task: Task, *, since: datetime) -> tuple[Any, ...]:
    lease: Any = timedelta(seconds=settings.OCTOLLM_LEASE_S)
    with connection.cursor() as cursor:
        cursor.execute(_CALLS, {"task": task.pk, "lease": lease, "since": since})
        row: tuple[Any, ...] = cursor.fetchone()
    return row
