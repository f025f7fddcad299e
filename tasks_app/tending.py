"""Turns on many tasks, one after the other, of which none may hold up the others."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from uuid import UUID

from django.db import InterfaceError, OperationalError, transaction

from tasks_app.models import Task
from tasks_app.turn import Turn, task_turn

logger = logging.getLogger(__name__)


def each_task(task_ids: Iterable[UUID], act: Callable[[Turn], object]) -> int:
    """Take a turn on each task that nobody is changing now; return how many.

    Who changes one of the others may hang, so they are left for the next time.
    """
    count = 0
    for task_id in dict.fromkeys(task_ids):
        try:
            count += _act_on(task_id, act)
        except (InterfaceError, OperationalError):
            # Not this task's fault; the next time tries again.
            raise
        except Exception:
            # What is wrong with one task must not keep the others waiting.
            logger.exception(
                "a task could not be tended", extra={"task_id": str(task_id)}
            )
    return count


def _act_on(task_id: UUID, act: Callable[[Turn], object]) -> bool:
    """Take a turn unless the task is being changed; say whether it was taken."""
    free = Task.objects.select_for_update(skip_locked=True, no_key=True)
    with transaction.atomic():
        if not free.filter(pk=task_id).values("pk"):
            return False
        with task_turn(task_id) as turn:
            act(turn)
    return True
