"""What one process at a time does so that nothing stays stuck.

Every act is a turn on one task, so two leaders at once do no harm. A task that
somebody is changing is left for the next tick: who changes it may hang, and the
others must not wait for that.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db.models import DurationField
from django.db.models.expressions import RawSQL
from django.db.models.functions import Now

from octollm.resilience import slots, switches
from octollm.resilience.models import Worker
from octollm.types import JSONObject
from tasks_app import approvals, fairness, retention, seals
from tasks_app.claims import count_ready
from tasks_app.endings import after_failure
from tasks_app.finish import close_stopped
from tasks_app.halting import give_back_stopped
from tasks_app.hints import ACTORS
from tasks_app.ledger import lost_charges, presume_lost
from tasks_app.models import Step, Task
from tasks_app.tending import each_task
from tasks_app.turn import Turn

logger = logging.getLogger(__name__)

# At most so many tasks per tick and kind, so that one tick stays short.
BATCH = 200
# A charge whose attempt is over has this long to settle by itself.
SETTLE_S = 60
_WAITED = RawSQL(  # noqa: S611  # names of our own
    switches.waited("tasks.created_at", "tasks.owner_id"),
    (),
    output_field=DurationField(),
)


def tick(send_hints: Callable[[str, int], None]) -> None:
    """Do all duties once; ``send_hints`` takes a queue and a number of hints."""
    lost_count = take_back_lost_steps()
    give_back_stopped()
    stop_overdue_tasks()
    end_overdue_approvals()
    presume_lost_charges()
    sweep_slots()
    forget_workers()
    fairness.renew_ranks()
    fairness.age()
    # Nobody has hinted at what lost workers left ready.
    hint_again(send_hints, rest_s=0 if lost_count else settings.OCTOLLM_HINT_AFTER_S)
    # Last: nobody waits for these.
    seals.write_seal()
    retention.tick()


def take_back_lost_steps() -> int:
    """Make steps ready again whose lease ran out, or dead; return how many."""
    lost = Step.objects.filter(status=Step.Status.RUNNING, lease_until__lt=Now())
    return each_task(lost.values_list("task_id", flat=True)[:BATCH], _take_back)


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
    """End tasks past their deadline or too long in the queue; return how many.

    The time in which an operator let nothing start does not count as in the queue.
    """
    queue_ttl = timedelta(seconds=settings.OCTOLLM_QUEUE_TTL_S)
    late = Task.objects.filter(
        status=Task.Status.PROCESSING,
        deadline_at__lt=Now(),
        clock_stopped_at__isnull=True,
    )
    stale = Task.objects.filter(
        status=Task.Status.PENDING, created_at__lt=Now() - queue_ttl
    ).alias(waited=_WAITED)
    return each_task(
        late.values_list("pk", flat=True)[:BATCH],
        _stopper(
            "deadline", code="deadline_exceeded", message="The task's time is over."
        ),
    ) + each_task(
        stale.filter(waited__gt=queue_ttl).values_list("pk", flat=True)[:BATCH],
        _stopper(
            "queue_ttl", code="queue_ttl", message="Nobody started the task in time."
        ),
    )


def _stopper(reason: str, *, code: str, message: str) -> Callable[[Turn], None]:
    def stop(turn: Turn) -> None:
        # It may have got more time since it was found, or another run.
        if turn.task.is_terminal or (reason == "deadline" and _has_time(turn.task)):
            return
        error: JSONObject = {"code": code, "message": message}
        close_stopped(turn, error, stop_reason=reason)

    return stop


def _has_time(task: Task) -> bool:
    return task.deadline_at is not None and task.deadline_at > datetime.now(UTC)


def end_overdue_approvals() -> int:
    """Cancel tasks whose plan nobody approved in time; return how many."""
    return each_task(approvals.overdue()[:BATCH], approvals.expire)


def presume_lost_charges() -> int:
    """Book calls at worst case whose attempt is over and that never settled."""
    lost = lost_charges().filter(created_at__lt=Now() - timedelta(seconds=SETTLE_S))
    return each_task(
        lost.values_list("task_id", flat=True).distinct()[:BATCH], presume_lost
    )


def sweep_slots() -> int:
    """Free slots whose holder's step runs no more; return how many."""
    return slots.sweep(_living)


def _living(_: Collection[UUID]) -> set[UUID]:
    running = Step.objects.filter(status=Step.Status.RUNNING)
    claims = running.values_list("claim_id", flat=True)
    return {claim_id for claim_id in claims if claim_id is not None}


def forget_workers() -> int:
    """Drop the rows of workers that have been silent for long."""
    silent = timedelta(seconds=20 * settings.OCTOLLM_LEASE_RENEW_S)
    return Worker.objects.filter(heartbeat_at__lt=Now() - silent).delete()[0]


def hint_again(send_hints: Callable[[str, int], None], *, rest_s: float) -> None:
    """Send hints for steps that have been ready for so long: theirs may be lost."""
    for queue in ACTORS:
        count = count_ready(queue, most=BATCH, rest_s=rest_s)
        if count:
            send_hints(queue, count)
