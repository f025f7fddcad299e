"""Many ready steps at once, made by the database itself."""

from __future__ import annotations

from typing import Any

from django.db import connection
from psycopg.types.json import Jsonb

from octollm.access.models import Owner
from tasks_app.step_rows import PRIORITY_RANKS

# The primary keys count up, as those that the system makes do.
_FILL = """
WITH t AS (
    INSERT INTO tasks (id, goal, owner_id, priority, given_plan)
    SELECT ('01900000-0000-7000-8000-' || lpad(to_hex(%(first)s + i), 12, '0'))::uuid,
           'Count the words', %(owner)s, %(priority)s, %(plan)s
    FROM generate_series(1, %(count)s) i
    RETURNING id
)
INSERT INTO steps (
    id, task_id, owner_id, step_id, kind, description, arm, capability, depends_on,
    input, criteria, estimated_cost, estimated_time, taint, status, ready_at,
    priority_rank, owner_rank
)
SELECT id, id, %(owner)s, 'plan', 'plan', 'Make a plan', 'planner', 'planning', '{}',
       '{}', '{}', 0, 0, '{}', 'ready', clock_timestamp(),
       %(priority_rank)s, least(1000, row_number() OVER (ORDER BY id) - 1)
FROM t
"""
_SIZE = "SELECT count(*) FROM tasks"


def fill(
    owner: Owner,
    count: int,
    *,
    priority: str = "medium",
    plan: dict[str, Any] | None = None,
) -> None:
    """Give an owner so many tasks whose plan steps are ready, one after the other.

    Running them takes a plan of the caller's own.
    """
    with connection.cursor() as cursor:
        cursor.execute(_SIZE)
        (size,) = cursor.fetchone() or (0,)
        values: dict[str, Any] = {
            "owner": owner.pk,
            "first": size,
            "count": count,
            "priority": priority,
            "plan": None if plan is None else Jsonb(plan),
            "priority_rank": PRIORITY_RANKS[priority],
        }
        cursor.execute(_FILL, values)
