"""Which ready step comes next, as SQL.

The order is that of one index: the most urgent, then those of the owner who has the
least under way, then the oldest. Nothing is claimed during maintenance.

The first of the order is tried. Steps of an owner who is stopped or at its limit are
passed over, and may be many: looked at one by one they would slow down every claim. So
if the first is one of them, the next ``IN_FRONT`` are looked at, and if all of those
may not start, the first steps of each other owner.
"""

from __future__ import annotations

from uuid import UUID

from octollm.access.owners import BLOCKED
from octollm.resilience.switches import NO_MAINTENANCE
from octollm.rows import RowReader
from tasks_app.models import Step, Task

# What this code understands of a step's row. A change that older workers would get
# wrong writes a higher version, and they leave such steps to newer ones.
STEP_VERSION = 2

# The task comes whole: whoever works on the step reads its goal and context.
STEPS = RowReader(Step, without=("output", "evidence", "error"))
TASKS = RowReader(Task)

IN_FRONT = 100
# Of each owner more than one, because the first may be of a task that is being changed.
OF_EACH = 4
OF_ALL = 16

_READY = "status = 'ready' AND queue = %(queue)s"
_DUE = f"run_after <= clock_timestamp() AND version <= {STEP_VERSION}"
# The last column: whether the owner is stopped, and whether it has slots.
_CLAIMED = f"""
SELECT {STEPS.columns("s")}, {TASKS.columns("t")}, (
    SELECT ARRAY[stopped_at IS NOT NULL, max_running IS NOT NULL]
    FROM owners WHERE owners.id = s.owner_id
)
"""  # noqa: S608  # names of our own models
_LOCKED = """
ORDER BY s.priority_rank, s.owner_rank, s.id
LIMIT 1 FOR NO KEY UPDATE OF t SKIP LOCKED
"""
# The owners who have ready steps, and the nil UUID before them: from one to the next by
# the index, since looking at all steps for their owners takes as long as there are steps.
OWNERS = f"""
WITH RECURSIVE o AS (
    SELECT '{UUID(int=0)}'::uuid AS owner_id
    UNION ALL
    SELECT (SELECT owner_id FROM steps WHERE {_READY} AND owner_id > o.owner_id
            ORDER BY owner_id LIMIT 1)
    FROM o WHERE o.owner_id IS NOT NULL
) SELECT owner_id FROM o WHERE owner_id IS NOT NULL
"""  # noqa: S608  # names of our own
# The first of one owner. Between two equal bounds, since an equality would let the
# planner walk through the claim's index, past all steps of the others.
OF_OWNER = f"""
owner_id BETWEEN owners.owner_id AND owners.owner_id AND {_READY}
"""
IN_ORDER = "ORDER BY owner_id, status, queue, priority_rank, owner_rank, id"
_OF_OTHERS = f"""
SELECT due.id, due.priority_rank, due.owner_rank
FROM ({OWNERS}) owners CROSS JOIN LATERAL (
    SELECT id, priority_rank, owner_rank FROM steps
    WHERE {OF_OWNER} AND {_DUE}
    {IN_ORDER} LIMIT {OF_EACH}
) due WHERE owners.owner_id <> ALL(ARRAY({BLOCKED}))
"""  # noqa: S608  # names of our own

FIRST = f"""
{_CLAIMED} FROM steps s JOIN tasks t ON t.id = s.task_id
WHERE {NO_MAINTENANCE} AND s.status = 'ready' AND s.queue = %(queue)s AND s.{_DUE}
{_LOCKED}
"""
FIRST_UNBLOCKED = f"""
{_CLAIMED} FROM (
    SELECT * FROM steps WHERE {_READY} AND {_DUE}
    ORDER BY priority_rank, owner_rank, id LIMIT {IN_FRONT}
) s JOIN tasks t ON t.id = s.task_id
WHERE {NO_MAINTENANCE} AND s.owner_id <> ALL(ARRAY({BLOCKED}))
{_LOCKED}
"""  # noqa: S608  # names of our own
FIRST_OF_OTHERS = f"""
{_CLAIMED} FROM (
    SELECT id FROM ({_OF_OTHERS}) other
    ORDER BY priority_rank, owner_rank, id LIMIT {OF_ALL}
) other JOIN steps s ON s.id = other.id JOIN tasks t ON t.id = s.task_id
WHERE {NO_MAINTENANCE}
{_LOCKED}
"""  # noqa: S608  # names of our own
IS_ANY_READY = f"SELECT {NO_MAINTENANCE} AND EXISTS ({_OF_OTHERS})"
# Also what only newer workers understand: they take hints from the same queue.
COUNT_READY = f"""
SELECT count(*) FROM (
    SELECT 1 FROM steps
    WHERE {_READY} AND run_after <= clock_timestamp() - %(rest)s
    AND {NO_MAINTENANCE} AND owner_id <> ALL(ARRAY({BLOCKED}))
    LIMIT %(most)s
) waiting
"""  # noqa: S608  # names of our own
