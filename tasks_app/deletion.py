"""A task is deleted for good: its vault shredded, a signed tombstone left."""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.db import connection, transaction

from arms.models import Execution, ServedExecution
from octollm.access.models import Owner
from octollm.errors import IllegalStateError
from reflex.models import Screening
from reflex.vault import shred
from tasks_app.ledger import presume_lost
from tasks_app.models import Task, Tombstone
from tasks_app.turn import task_turn

logger = logging.getLogger(__name__)

# Held until the transaction ends: it lets turns pass, and neither the deletion nor
# the shredding of the task.
_KEEP = "SELECT 'vault' = ANY(removed_parts) FROM tasks WHERE id = %s FOR KEY SHARE"


def delete_task(
    task_id: UUID, *, deleted_by: str, owner: Owner | None = None
) -> Tombstone:
    """Delete an ended task with all that hangs on it; return what is left.

    Calls whose reply is still out are booked at worst case before, so that what the
    owner spent is never told too low.

    Args:
        task_id: which task.
        deleted_by: an account's name or the prefix of an API key.
        owner: whose task it must be; anybody's when ``None``.

    Raises:
        Task.DoesNotExist: there is no such task, or it is not the owner's.
        IllegalStateError: it is still open.
    """
    # The full lock, which conflicts with that of `is_scope_open`; a turn's does not.
    wanted = Task.objects.select_for_update().filter(pk=task_id)
    if owner is not None:
        wanted = wanted.filter(owner=owner)
    with transaction.atomic():
        if not wanted.values("pk"):
            raise Task.DoesNotExist
        with task_turn(task_id) as turn:
            if not turn.task.is_terminal:
                raise IllegalStateError("The task is still open: cancel it first.")
            presume_lost(turn)
            turn.flush()
            shred(task_id)
            tombstone = _bury(turn.task, deleted_by=deleted_by)
    logger.info("a task was deleted", extra={"task_id": str(task_id)})
    return tombstone


def is_scope_open(scope_id: UUID) -> bool:
    """Say whether a scope takes values: a task's until it is deleted or shredded.

    The task, if it is one, stays until the transaction ends.
    """
    with connection.cursor() as cursor:
        cursor.execute(_KEEP, [scope_id])
        row = cursor.fetchone()
    if row is not None:
        return not row[0]
    return not Tombstone.objects.filter(pk=scope_id).exists()


def _bury(task: Task, *, deleted_by: str) -> Tombstone:
    """Put the tombstone in the place of the task's rows."""
    finished_at = task.finished_at
    assert finished_at is not None  # noqa: S101  # the database guards it
    tombstone = Tombstone(
        task_id=task.pk,
        owner_id=task.owner_id,
        status=task.status,
        run=task.run,
        created_at=task.created_at,
        finished_at=finished_at,
        deleted_at=_now(),
        deleted_by=deleted_by,
        seq=task.event_seq,
        mac=task.event_head,
        spent_nano=task.spent_nano,
        spent_tokens=task.spent_tokens,
    )
    tombstone.sign()
    tombstone.save(force_insert=True)
    Screening.objects.filter(scope_id=task.pk).delete()
    Execution.objects.filter(scope_id=task.pk).delete()
    ServedExecution.objects.filter(scope_id=task.pk).delete()
    with connection.cursor() as cursor:
        # The rest goes by the foreign keys, which cascade in the database.
        cursor.execute("DELETE FROM tasks WHERE id = %s", [task.pk])
    return tombstone


def _now() -> datetime:
    """Return the database's time, by which seals go."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
