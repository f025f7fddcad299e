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

from octollm.resilience.deadline import StopToken
from tasks_app import order
from tasks_app.turn import Claim, Turn

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


_SEARCHES = (order.FIRST, order.FIRST_UNBLOCKED, order.FIRST_OF_OTHERS)


def claim_next(queues: Sequence[str], *, worker: str) -> Claim | None:
    """Claim the best ready step of the first of these queues that has one, or nothing.

    The best is the most urgent task's, then that of the owner with the least under way,
    then the oldest. Steps are passed over whose owner is stopped or at its limit, and
    those whose task is being changed at this moment; ``has_ready`` tells whether the
    latter hid one.
    """
    claims = (_claim_first(queue, worker=worker) for queue in queues)
    return next((claim for claim in claims if claim is not None), None)


def _claim_first(queue: str, *, worker: str) -> Claim | None:
    with transaction.atomic(), connection.cursor() as cursor:
        for statement in _SEARCHES:
            cursor.execute(statement, {"queue": queue})
            row = cursor.fetchone()
            claim = _start(row, worker=worker) if row else None
            # Where nothing is first, nothing comes after it.
            if claim is not None or (row is None and statement is order.FIRST):
                return claim
    return None


def _start(row: Sequence[Any], *, worker: str) -> Claim | None:
    """Start the step of a row whose task is locked, unless its owner may start none."""
    is_stopped, is_limited = row[-1]
    if is_stopped:
        return None
    step = order.STEPS.read(row[: order.STEPS.width])
    turn = Turn(order.TASKS.read(row[order.STEPS.width : -1]))
    claim = turn.start_step(step, worker=worker, is_limited=is_limited)
    turn.flush()
    return claim


def has_ready(queues: Sequence[str]) -> bool:
    """Whether a step is ready and due that somebody may claim."""
    return any(_ask(order.IS_ANY_READY, queue=queue) for queue in queues)


def count_ready(queue: str, *, most: int, rest_s: float = 0.0) -> int:
    """Count the steps that may be claimed and have been ready for so long."""
    rest = timedelta(seconds=rest_s)
    return int(_ask(order.COUNT_READY, queue=queue, most=most, rest=rest))


def _ask(question: str, **values: Any) -> Any:
    """Return the one value that a statement gives."""
    with connection.cursor() as cursor:
        cursor.execute(question, values)
        (answer,) = cursor.fetchone() or (None,)
    return answer


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
