"""What one process at a time does so that nothing stays stuck.

Every act is a turn on one task, so two leaders at once do no harm. A task that
somebody is changing is left for the next tick: who changes it may hang, and the
others must not wait for that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, transaction
from django.db.models.functions import Now

from octollm.resilience.models import Worker
from octollm.types import JSONObject
from tasks_app import approvals, retention, seals
from tasks_app.finish import close_stopped
from tasks_app.ledger import lost_charges, presume_lost
from tasks_app.models import Step, Task
from tasks_app.pipeline import after_failure
from tasks_app.turn import Turn, task_turn

logger = logging.getLogger(__name__)

# At most so many tasks per tick and kind, so that one tick stays short.
BATCH = 200
# A charge whose attempt is over has this long to settle by itself.
SETTLE_S = 60


def tick(send_hints: Callable[[str, int], None]) -> None:
    """Do all duties once; ``send_hints`` takes a queue and a number of hints."""
    lost_count = take_back_lost_steps()
    stop_overdue_tasks()
    end_overdue_approvals()
    presume_lost_charges()
    forget_workers()
    # Nobody has hinted at what lost workers left ready.
    hint_again(send_hints, after_s=0 if lost_count else settings.OCTOLLM_HINT_AFTER_S)
    # Last: nobody waits for these.
    seals.write_seal()
    retention.tick()


def take_back_lost_steps() -> int:
    """Make steps ready again whose lease ran out, or dead; return how many."""
    lost = Step.objects.filter(status=Step.Status.RUNNING, lease_until__lt=Now())
    return _each(lost.values_list("task_id", flat=True)[:BATCH], _take_back)


def _take_back(turn: Turn) -> None:
    lost = Step.objects.filter(
        task=turn.task, status=Step.Status.RUNNING, lease_until__lt=Now()
    )
    for step in list(lost):
        logger.warning(
            "a step's lease ran out",
            extra={"task_id": str(turn.task.pk), "step_id": step.step_id},
        )
        error = turn.lose_attempt(step)
        if error is not None and not turn.task.is_terminal:
            after_failure(turn, step, error)
    # At once: the step that goes on needs what the lost one holds. A settlement that
    # comes after all corrects it.
    presume_lost(turn)


def stop_overdue_tasks() -> int:
    """End tasks past their deadline or too long in the queue; return how many."""
    queue_ttl = timedelta(seconds=settings.OCTOLLM_QUEUE_TTL_S)
    late = Task.objects.filter(
        status=Task.Status.PROCESSING,
        deadline_at__lt=Now(),
        clock_stopped_at__isnull=True,
    )
    stale = Task.objects.filter(
        status=Task.Status.PENDING, created_at__lt=Now() - queue_ttl
    )
    return _each(
        late.values_list("pk", flat=True)[:BATCH],
        _stopper(
            "deadline", code="deadline_exceeded", message="The task's time is over."
        ),
    ) + _each(
        stale.values_list("pk", flat=True)[:BATCH],
        _stopper(
            "queue_ttl", code="queue_ttl", message="Nobody started the task in time."
        ),
    )


def _stopper(reason: str, *, code: str, message: str) -> Callable[[Turn], None]:
    def stop(turn: Turn) -> None:
        if not turn.task.is_terminal:
            error: JSONObject = {"code": code, "message": message}
            close_stopped(turn, error, stop_reason=reason)

    return stop


def end_overdue_approvals() -> int:
    """Cancel tasks whose plan nobody approved in time; return how many."""
    return _each(approvals.overdue()[:BATCH], approvals.expire)


def presume_lost_charges() -> int:
    """Book calls at worst case whose attempt is over and that never settled."""
    lost = lost_charges().filter(created_at__lt=Now() - timedelta(seconds=SETTLE_S))
    return _each(
        lost.values_list("task_id", flat=True).distinct()[:BATCH], presume_lost
    )


def forget_workers() -> int:
    """Drop the rows of workers that have been silent for long."""
    silent = timedelta(seconds=20 * settings.OCTOLLM_LEASE_RENEW_S)
    return Worker.objects.filter(heartbeat_at__lt=Now() - silent).delete()[0]


def hint_again(send_hints: Callable[[str, int], None], *, after_s: float) -> None:
    """Send hints for steps that have been ready for so long: theirs may be lost."""
    since = timedelta(seconds=after_s)
    waiting = Step.objects.filter(
        status=Step.Status.READY, run_after__lt=Now() - since
    ).values_list("queue", flat=True)[:BATCH]
    queues = list(waiting)
    for queue in sorted(set(queues)):
        send_hints(queue, queues.count(queue))


def _each(task_ids: Iterable[UUID], act: Callable[[Turn], object]) -> int:
    count = 0
    for task_id in dict.fromkeys(task_ids):
        try:
            count += _act_on(task_id, act)
        except (InterfaceError, OperationalError):
            # Not this task's fault; the next tick tries again.
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
