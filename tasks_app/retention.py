"""What is old is removed, in small batches, by the reaper's leader.

Two kinds of duty. Of tasks that have ended, parts are removed in the order in which
they ended, and a cursor per part keeps how far that is. Rows of the reflex and of the
arms, which know no tasks, go by their own age. Open tasks are never touched. Every
act is a turn or a conditional statement, so two leaders at once do no harm.
"""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, transaction

from reflex.vault import shred
from tasks_app import chain
from tasks_app.models import EventCheckpoint, RetentionCursor, TaskEvent
from tasks_app.turn import TASKS, Turn

logger = logging.getLogger(__name__)

# At most so many tasks are looked at, or rows removed, per duty and tick, within so
# much time: a tick stays short.
MAX_TASKS = 500
MAX_ROWS = 1_000
DUTY_S = 0.2
# Tasks per transaction: few enough to be locked for milliseconds only.
CHUNK = 25
_BEGINNING = (datetime(1970, 1, 1, tzinfo=UTC), UUID(int=0))

_ENDED = """
SELECT ended.id, ended.finished_at, {due} FROM (
    SELECT id, finished_at, idempotency_mac FROM tasks
    WHERE finished_at IS NOT NULL AND finished_at < %(before)s
    AND (finished_at, id) > (%(finished_at)s, %(task)s)
    ORDER BY finished_at, id LIMIT %(limit)s
) ended ORDER BY ended.finished_at, ended.id
"""
# The full lock, which conflicts with that of `deletion.is_scope_open`.
_LOCK = f"""
SELECT {TASKS.columns("tasks")} FROM tasks
WHERE id = ANY(%(ids)s) AND finished_at < %(before)s FOR UPDATE SKIP LOCKED
"""  # noqa: S608  # names of our own model
# The conditions keep the cursor from going back when two leaders move it.
_MOVE_CURSOR = """
INSERT INTO retention_cursors (part, finished_at, task_id)
VALUES (%(part)s, %(finished_at)s, %(task)s)
ON CONFLICT (part) DO UPDATE
SET finished_at = excluded.finished_at, task_id = excluded.task_id
WHERE (retention_cursors.finished_at, retention_cursors.task_id)
    < (excluded.finished_at, excluded.task_id)
"""
# Materialized: as a plain subquery it may be run once per row, each time with another
# limit's worth of rows.
_OLD_ROWS = """
WITH batch AS MATERIALIZED (
    SELECT old.{id} FROM {table} old
    WHERE old.{moment} < %(before)s AND NOT EXISTS (
        SELECT 1 FROM tasks
        WHERE tasks.id = old.scope_id AND tasks.finished_at IS NULL)
    ORDER BY old.{moment} LIMIT %(limit)s FOR UPDATE OF old SKIP LOCKED
)
DELETE FROM {table} USING batch WHERE {table}.{id} = batch.{id}
"""

# A result, and every place where the same texts stand again.
_EMPTY_RESULTS = """
WITH gone AS (
    DELETE FROM task_results WHERE task_id = ANY(%(tasks)s)
), unsaid AS (
    UPDATE verdicts SET evidence = '' WHERE task_id = ANY(%(tasks)s) AND evidence <> ''
), undone AS (
    DELETE FROM executions WHERE scope_id = ANY(%(tasks)s)
), unserved AS (
    DELETE FROM served_executions WHERE scope_id = ANY(%(tasks)s)
), unheard AS (
    UPDATE charges SET reply = NULL WHERE task_id = ANY(%(tasks)s) AND reply IS NOT NULL
), silent AS (
    UPDATE attempts SET log = '' FROM steps
    WHERE steps.task_id = ANY(%(tasks)s) AND attempts.step_id = steps.id AND log <> ''
)
UPDATE steps SET output = '{}', evidence = '[]'
WHERE task_id = ANY(%(tasks)s) AND output IS NOT NULL
"""
# They hold values that were revealed, so they go with the vault as well.
_DELETE_SERVED = """
DELETE FROM served_executions WHERE scope_id = ANY(%(tasks)s)
"""
_DELETE_EVENTS = """
DELETE FROM task_events e USING event_checkpoints c
WHERE c.task_id = ANY(%(tasks)s) AND e.task_id = c.task_id AND e.seq <= c.seq
"""


@dataclass(frozen=True, kw_only=True)
class _Part:
    """What is removed of ended tasks: by which setting, from which, and how."""

    name: str
    setting: str
    due: str
    remove: Callable[[Sequence[Turn]], None]


@dataclass(frozen=True, kw_only=True)
class _Table:
    """Rows that go by their own age, unless the task of their scope is open."""

    name: str
    setting: str
    key: str
    moment: str


def tick() -> None:
    """Remove a batch of everything that is due; a history more is one line more."""
    for part in _PARTS:
        if before := _before(part.setting):
            _tend_tasks(part, before)
    for table in _TABLES:
        if before := _before(table.setting):
            _delete_rows(table, before)


def _before(setting: str) -> datetime | None:
    """Return the moment before which a setting's time is over; 0 days: never."""
    days: float = getattr(settings, setting)
    return datetime.now(UTC) - timedelta(days=days) if days > 0 else None


# Rows by age -----------------------------------------------------------------------
def _delete_rows(table: _Table, before: datetime) -> int:
    statement = _OLD_ROWS.format(table=table.name, id=table.key, moment=table.moment)
    with connection.cursor() as cursor:
        cursor.execute(statement, {"before": before, "limit": MAX_ROWS})
        return int(cursor.rowcount)


# Parts of ended tasks --------------------------------------------------------------
def _tend_tasks(part: _Part, before: datetime) -> None:
    """Go on from the cursor until nothing is due, the batch or the time is over."""
    stop_at = time.monotonic() + DUTY_S
    rows = _ended_tasks(part, before)
    for start in range(0, len(rows), CHUNK):
        chunk = rows[start : start + CHUNK]
        due = [task_id for task_id, _, is_due in chunk if is_due]
        left = set(due) - _tend(part, due, before) if due else set()
        if not _move_cursor(part, chunk, left) or time.monotonic() > stop_at:
            break


def _move_cursor(
    part: _Part, rows: Sequence[tuple[UUID, datetime, bool]], left: Collection[UUID]
) -> bool:
    """Note that these are dealt with, up to the first that somebody else has.

    The next tick goes on from there; says whether there was none such.
    """
    done: dict[str, Any] = {}
    for task_id, finished_at, _ in rows:
        if task_id in left:
            break
        done = {"part": part.name, "finished_at": finished_at, "task": task_id}
    if done:
        with connection.cursor() as cursor:
            cursor.execute(_MOVE_CURSOR, done)
    return not left


def _ended_tasks(part: _Part, before: datetime) -> list[tuple[UUID, datetime, bool]]:
    cursor_row = RetentionCursor.objects.filter(pk=part.name).first()
    finished_at, task_id = (
        (cursor_row.finished_at, cursor_row.task_id) if cursor_row else _BEGINNING
    )
    with connection.cursor() as cursor:
        cursor.execute(
            _ENDED.format(due=part.due),
            {
                "before": before,
                "finished_at": finished_at,
                "task": task_id,
                "limit": MAX_TASKS,
            },
        )
        rows: list[tuple[UUID, datetime, bool]] = cursor.fetchall()
    return rows


def _tend(part: _Part, task_ids: Collection[UUID], before: datetime) -> set[UUID]:
    """Remove the part of these tasks; return those that nobody else has just now."""
    try:
        return _act_on(part, task_ids, before)
    except (InterfaceError, OperationalError):
        # Not these tasks' fault; the next tick tries again.
        raise
    except Exception:
        if len(task_ids) > 1:
            # What is wrong with one must not keep the others.
            return {each for one in task_ids for each in _tend(part, [one], before)}
        (task_id,) = task_ids
        logger.exception(
            "the %s of a task could not be removed",
            part.name,
            extra={"task_id": str(task_id)},
        )
        return {task_id}


def _act_on(part: _Part, task_ids: Collection[UUID], before: datetime) -> set[UUID]:
    parameters: dict[str, Any] = {"ids": list(task_ids), "before": before}
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, parameters)
            turns = [Turn(TASKS.read(row)) for row in cursor.fetchall()]
        if turns:
            part.remove(turns)
        for turn in turns:
            turn.flush()
    return {turn.task.pk for turn in turns}


def _remove_events(turns: Sequence[Turn]) -> None:
    """Put a signed checkpoint in the place of each chain that holds.

    One that does not is evidence, and is kept.
    """
    ids = _ids(turns)
    earlier = EventCheckpoint.objects.in_bulk(ids)
    events: dict[UUID, list[TaskEvent]] = defaultdict(list)
    # By the column: the default order joins the tasks.
    for event in TaskEvent.objects.filter(task_id__in=ids).order_by("task_id", "seq"):
        events[event.task_id].append(event)
    made = []
    for turn in turns:
        if _is_whole(turn, earlier.get(turn.task.pk), events[turn.task.pk]):
            made.append(_checkpoint(turn))
            _mark(turn, "events")
    EventCheckpoint.objects.bulk_create(
        made,
        update_conflicts=True,
        unique_fields=["task"],
        update_fields=["seq", "mac", "status", "at", "signature"],
    )
    _execute(_DELETE_EVENTS, [checkpoint.pk for checkpoint in made])


def _is_whole(
    turn: Turn, checkpoint: EventCheckpoint | None, events: Sequence[TaskEvent]
) -> bool:
    """Say whether a task's chain holds, from its genuine checkpoint or from 1."""
    task, after = turn.task, chain.BEGINNING
    if checkpoint is not None and checkpoint.is_genuine:
        after = chain.Link(seq=checkpoint.seq, mac=checkpoint.mac)
    broken = chain.first_break(task.pk, events, head=task.event_head, after=after)
    if broken is not None:
        logger.error(
            "a task's chain breaks at event %s; its events are kept",
            broken,
            extra={"task_id": str(task.pk)},
        )
    return broken is None


def _checkpoint(turn: Turn) -> EventCheckpoint:
    task = turn.task
    checkpoint = EventCheckpoint(
        task_id=task.pk,
        seq=task.event_seq,
        mac=task.event_head,
        status=task.status,
        at=datetime.now(UTC),
    )
    checkpoint.sign()
    return checkpoint


def _remove_results(turns: Sequence[Turn]) -> None:
    _execute(_EMPTY_RESULTS, _ids(turns))
    for turn in turns:
        turn.event("retention.results")
        _mark(turn, "results")


def _remove_vaults(turns: Sequence[Turn]) -> None:
    _execute(_DELETE_SERVED, _ids(turns))
    for turn in turns:
        shred(turn.task.pk)
        turn.event("retention.vault")
        _mark(turn, "vault")


def _remove_keys(turns: Sequence[Turn]) -> None:
    """Forget under which Idempotency-Key a task came: the key makes a new one then."""
    for turn in turns:
        turn.set(idempotency_mac=None, request_mac="")


def _mark(turn: Turn, part: str) -> None:
    turn.set(removed_parts=sorted({*turn.task.removed_parts, part}))


def _ids(turns: Sequence[Turn]) -> list[UUID]:
    return [turn.task.pk for turn in turns]


def _execute(statement: str, task_ids: list[UUID]) -> None:
    parameters: dict[str, Any] = {"tasks": task_ids}
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)


_PARTS = (
    _Part(
        name="results",
        setting="OCTOLLM_RETAIN_RESULTS_DAYS",
        due="EXISTS (SELECT 1 FROM task_results WHERE task_id = ended.id)",
        remove=_remove_results,
    ),
    _Part(
        name="vault",
        setting="OCTOLLM_RETAIN_VAULT_DAYS",
        due="EXISTS (SELECT 1 FROM vault_keys WHERE scope_id = ended.id)",
        remove=_remove_vaults,
    ),
    _Part(
        name="idempotency",
        setting="OCTOLLM_RETAIN_IDEMPOTENCY_DAYS",
        due="ended.idempotency_mac IS NOT NULL",
        remove=_remove_keys,
    ),
    # Last, so that it takes along what the others note.
    _Part(
        name="events",
        setting="OCTOLLM_RETAIN_EVENTS_DAYS",
        due="EXISTS (SELECT 1 FROM task_events WHERE task_id = ended.id)",
        remove=_remove_events,
    ),
)
_TABLES = (
    _Table(
        name="screenings",
        setting="OCTOLLM_RETAIN_SCREENINGS_DAYS",
        key="id",
        moment="created_at",
    ),
    _Table(
        name="executions",
        setting="OCTOLLM_RETAIN_EXECUTIONS_DAYS",
        key="request_id",
        moment="finished_at",
    ),
    _Table(
        name="served_executions",
        setting="OCTOLLM_RETAIN_EXECUTIONS_DAYS",
        key="request_id",
        moment="renewed_at",
    ),
)
