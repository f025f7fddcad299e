"""What keeps ready steps from waiting for ever; the reaper does it in small batches.

A step's rank within its owner and its urgency are columns of the claim's index, so
they are as old as the step's readiness. Here those that went stale are renewed.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.db import connection

from octollm.access.owners import BLOCKED
from octollm.resilience.switches import waited
from tasks_app.hints import ACTORS
from tasks_app.order import IN_ORDER, OF_OWNER, OWNERS
from tasks_app.step_rows import PRIORITY_RANKS

# So many of an owner's next steps have a fresh rank; what is behind them has to wait
# for its own owner's first.
HEAD = 50
BATCH = 1_000

# An owner's backlog drains and others come and go: what was the owner's hundredth step
# when it turned ready may be its next one. A rank only ever gets lower. Rows that are
# being changed are left for the next time: waiting for them could deadlock with a turn.
_RENEW_RANKS = f"""
WITH stale AS MATERIALIZED (
    SELECT head.id, under_way.count + head.place AS owner_rank
    FROM ({OWNERS}) owners CROSS JOIN LATERAL (
        SELECT count(*) AS count FROM steps
        WHERE steps.owner_id = owners.owner_id AND status = 'running'
    ) under_way CROSS JOIN LATERAL (
        SELECT id, owner_rank,
               row_number() OVER (ORDER BY priority_rank, owner_rank, id) - 1 AS place
        FROM (
            SELECT id, priority_rank, owner_rank FROM steps
            WHERE {OF_OWNER} {IN_ORDER} LIMIT {HEAD}
        ) ready
    ) head
    WHERE head.owner_rank > under_way.count + head.place LIMIT {BATCH}
), mine AS (
    SELECT s.id, stale.owner_rank FROM steps s JOIN stale ON stale.id = s.id
    WHERE s.status = 'ready' ORDER BY s.id FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE steps SET owner_rank = mine.owner_rank FROM mine WHERE steps.id = mine.id
"""  # noqa: S608  # names of our own

# One step of each owner at a time, the one that has waited longest: were all to become
# more urgent that wait, a flood of unurgent work would overtake everybody in the end.
# The time of an operator's stops does not count: who had to wait is not to come first.
_URGENCIES = " ".join(
    f"WHEN '{name}' THEN {rank}" for name, rank in PRIORITY_RANKS.items()
)
_AGE = f"""
WITH longest AS MATERIALIZED (
    SELECT DISTINCT ON (s.owner_id) s.id, GREATEST(0,
        CASE t.priority {_URGENCIES} END
        - floor(extract(epoch FROM {waited("s.ready_at", "s.owner_id")}) / %(age_s)s)
    )::int AS priority_rank
    FROM steps s JOIN tasks t ON t.id = s.task_id
    WHERE s.status = 'ready' AND s.run_after <= clock_timestamp()
    AND s.ready_at < clock_timestamp() - %(age)s
    AND s.owner_id <> ALL(ARRAY({BLOCKED}))
    ORDER BY s.owner_id, s.ready_at
), mine AS (
    SELECT s.id, longest.priority_rank
    FROM steps s JOIN longest ON longest.id = s.id
    WHERE s.status = 'ready' AND s.priority_rank > longest.priority_rank
    ORDER BY s.id LIMIT {BATCH} FOR NO KEY UPDATE OF s SKIP LOCKED
)
UPDATE steps SET priority_rank = mine.priority_rank FROM mine WHERE steps.id = mine.id
"""  # noqa: S608  # names of our own


def renew_ranks() -> int:
    """Lower the ranks of owners' next steps to what they would get now; count them."""
    return sum(_update(_RENEW_RANKS, queue=queue) for queue in ACTORS)


def age() -> int:
    """Make more urgent what has waited for long, step by step; return how many."""
    age_s = settings.OCTOLLM_PRIORITY_AGE_S
    if age_s <= 0:
        return 0
    return _update(_AGE, age_s=age_s, age=timedelta(seconds=age_s))


def _update(statement: str, **values: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return int(cursor.rowcount)
