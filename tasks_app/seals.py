"""Seals: which tasks there were, and how far each had come.

A task's own chain goes with its rows, so it cannot tell that they are gone. The
leader writes every minute which tasks were accepted, ended or deleted, signed and
chained to the seal before. Nothing of it is on the way of a submission.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from tasks_app.models import Seal

logger = logging.getLogger(__name__)

# What began so long ago has been committed: a turn takes milliseconds, and one that
# hangs is broken off after 30 s.
LAG_S = 60.0
EVERY_S = 60.0
# So many tasks at most, but for those of the very same moment.
MAX_TASKS = 10_000
_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)

# Each branch stops early by an index of its own.
_BRANCH = """(
    SELECT {id} AS id, {seq} AS seq, {mac} AS mac, {moment} AS moment FROM {table}
    WHERE {moment} > %(since)s AND {moment} <= %(until)s
    ORDER BY {moment} FETCH FIRST (%(limit)s) ROWS WITH TIES
)"""
_TASKS = {"table": "tasks", "id": "id", "seq": "event_seq", "mac": "event_head"}
_TOMBSTONES = {"table": "tombstones", "id": "task_id", "seq": "seq", "mac": "mac"}
_CHANGED = f"""
SELECT id, seq, mac, moment FROM (
    {_BRANCH.format(**_TASKS, moment="created_at")}
    UNION ALL
    {_BRANCH.format(**_TASKS, moment="finished_at")}
    UNION ALL
    {_BRANCH.format(**_TOMBSTONES, moment="deleted_at")}
) changed ORDER BY moment FETCH FIRST (%(limit)s) ROWS WITH TIES
"""  # noqa: S608  # our own names


def write_seal(*, lag_s: float = LAG_S, every_s: float = EVERY_S) -> Seal | None:
    """Seal what happened since the last seal; nothing when it is too early for one.

    Two leaders may try at once: one number is one row, and the first one stays.
    """
    last = Seal.objects.defer("task_ids", "seqs", "heads").last()
    since = last.until_at if last else _BEGINNING
    until = _moment_before_now(lag_s)
    if until < since + timedelta(seconds=every_s):
        return None
    rows = _changed(since, until)
    if not rows:
        return None
    seal = Seal(
        number=last.number + 1 if last else 1,
        previous=last.signature if last else "",
        from_at=since,
        until_at=rows[-1][3] if len(rows) >= MAX_TASKS else until,
    )
    # A task that was accepted and ended in this time stands here once.
    by_id = {row[0]: row for row in rows}
    seal.task_ids = list(by_id)
    seal.seqs = [row[1] for row in by_id.values()]
    seal.heads = [row[2] for row in by_id.values()]
    seal.sign()
    Seal.objects.bulk_create([seal], ignore_conflicts=True)
    # Kept elsewhere, this line tells whether later seals were cut off.
    logger.info("tasks were sealed: seal %s is %s", seal.number, seal.signature)
    return seal


def _moment_before_now(seconds: float) -> datetime:
    lag: Any = timedelta(seconds=seconds)  # the stubs do not know that it is taken
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp() - %s::interval", [lag])
        moment: datetime = cursor.fetchone()[0]
    return moment


def _changed(since: datetime, until: datetime) -> list[tuple[Any, ...]]:
    """Return id, last event's number and MAC, and the moment, in order of the last."""
    with connection.cursor() as cursor:
        cursor.execute(_CHANGED, {"since": since, "until": until, "limit": MAX_TASKS})
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows
