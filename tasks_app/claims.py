"""Claim the best ready step, and keep the claims of this process alive."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from django.db.models.functions import Now

from octollm.resilience.deadline import StopToken
from octollm.rows import RowReader
from tasks_app.models import Step, Task
from tasks_app.turn import Claim, Turn

# What this code understands of a step's row. A change that older workers would get
# wrong writes a higher version, and they leave such steps to newer ones.
STEP_VERSION = 2

# The task comes whole: whoever works on the step reads its goal and context.
_STEPS = RowReader(Step, without=("output", "evidence", "error"))
_TASKS = RowReader(Task)
_BEST = f"""
SELECT {_STEPS.columns("s")}, {_TASKS.columns("t")}
FROM steps s JOIN tasks t ON t.id = s.task_id
WHERE s.status = 'ready' AND s.queue = ANY(%s) AND s.run_after <= clock_timestamp()
  AND s.version <= {STEP_VERSION}
ORDER BY s.priority_rank, s.owner_rank, s.id
LIMIT 1 FOR NO KEY UPDATE OF t SKIP LOCKED
"""  # noqa: S608  # names of our own models

# Rows that a turn is changing at this moment are left for the next renewal: waiting
# for them could deadlock with the turn, and a lease outlives three renewals.
_RENEW = """
UPDATE steps SET lease_until = clock_timestamp() + %(lease)s
FROM (
    SELECT id FROM steps WHERE id = ANY(%(steps)s) AND claim_id = ANY(%(claims)s)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
) mine WHERE steps.id = mine.id
"""
_STILL_MINE = """
SELECT claim_id FROM steps WHERE id = ANY(%(steps)s) AND claim_id = ANY(%(claims)s)
"""


def claim_next(queues: Sequence[str], *, worker: str) -> Claim | None:
    """Claim the best ready step of these queues, or nothing.

    The best is the most urgent task's, then that of the owner with the least open
    steps, then the oldest. Steps whose task is being changed at this moment are
    passed over; ``has_ready`` tells whether that hid one.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_BEST, [list(queues)])
            row = cursor.fetchone()
        if row is None:
            return None
        step = _STEPS.read(row[: _STEPS.width])
        turn = Turn(_TASKS.read(row[_STEPS.width :]))
        claim = turn.start_step(step, worker=worker)
        turn.flush()
        return claim


def has_ready(queues: Sequence[str]) -> bool:
    """Whether a step is ready and due, claimed by nobody."""
    return Step.objects.filter(
        status=Step.Status.READY,
        queue__in=queues,
        run_after__lte=Now(),
        version__lte=STEP_VERSION,
    ).exists()


class HeldClaims:
    """The claims that this process holds, with what stops their work.

    Safe to use from any thread.
    """

    def __init__(self) -> None:
        """Start with none."""
        self._lock = threading.Lock()
        self._held: dict[UUID, tuple[UUID, StopToken]] = {}

    def __len__(self) -> int:
        """Count the claims held now."""
        return len(self._held)

    @contextmanager
    def hold(self, claim: Claim, stop: StopToken) -> Iterator[None]:
        """Keep a claim renewed while its work runs."""
        with self._lock:
            self._held[claim.claim_id] = (claim.step.pk, stop)
        try:
            yield
        finally:
            with self._lock:
                del self._held[claim.claim_id]

    def renew(self) -> int:
        """Prolong the leases of all claims in one statement; return how many."""
        held = self._snapshot()
        if not held:
            return 0
        with connection.cursor() as cursor:
            lease: Any = timedelta(seconds=settings.OCTOLLM_LEASE_S)
            cursor.execute(_RENEW, {"lease": lease, **_keys(held)})
            return int(cursor.rowcount)

    def stop_lost(self) -> int:
        """Stop the work whose claim is ours no more; return how much that is.

        A claim is lost when its task was cancelled or stopped, or its lease ran out.
        """
        held = self._snapshot()
        if not held:
            return 0
        with connection.cursor() as cursor:
            cursor.execute(_STILL_MINE, _keys(held))
            mine = {row[0] for row in cursor.fetchall()}
        lost = [stop for claim_id, (_, stop) in held.items() if claim_id not in mine]
        for stop in lost:
            stop.cancel()
        return len(lost)

    def stop_all(self) -> None:
        """Stop all work of this process."""
        for _, stop in self._snapshot().values():
            stop.cancel()

    def _snapshot(self) -> dict[UUID, tuple[UUID, StopToken]]:
        with self._lock:
            return dict(self._held)


def _keys(held: dict[UUID, tuple[UUID, StopToken]]) -> dict[str, Any]:
    return {"claims": list(held), "steps": [step for step, _ in held.values()]}


held_claims = HeldClaims()
