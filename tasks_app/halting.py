"""What a switch of an operator's means for tasks that are under way.

What is stopped is not claimed; see ``order.py``. Stopped at once, what runs is given
back, too: its claim is gone, so no further call of it can be paid for, and its worker
closes the one that is open when it next looks at its claims.
"""

from __future__ import annotations

import logging
import time
from functools import partial

from django.db.models import QuerySet

from octollm.resilience.models import Switch
from octollm.resilience.switches import MAINTENANCE, OWNER_PREFIX
from tasks_app import claims
from tasks_app.hints import ACTORS, send_missing_hints
from tasks_app.ledger import presume_lost
from tasks_app.models import Step
from tasks_app.tending import each_task
from tasks_app.turn import Turn

logger = logging.getLogger(__name__)

# A claim that was being made when the switch was turned is seen within this time.
PAUSE_S = 0.1
# So long is what runs given back here; after that the reaper goes on with it.
LONGEST_S = 5.0
BATCH = 200


def follow(switch: Switch) -> int:
    """Act on a switch that was turned; return how many attempts were given back."""
    if switch.ended_at is not None:
        wake_workers()
    elif switch.is_now:
        return _give_back_all()
    return 0


def _give_back_all() -> int:
    """Give back what runs and is to be stopped, until there is nothing of it left."""
    count, deadline = 0, time.monotonic() + LONGEST_S
    while True:
        count += give_back_stopped()
        time.sleep(PAUSE_S)
        if not stopped_steps().exists() or time.monotonic() > deadline:
            return count


def give_back_stopped() -> int:
    """Give back once what runs and is to be stopped; return how many attempts."""
    released: list[Step] = []
    task_ids = stopped_steps().values_list("task_id", flat=True)
    each_task(list(task_ids[:BATCH]), partial(_release, released=released))
    return len(released)


def stopped_steps() -> QuerySet[Step]:
    """Return the running steps of what is stopped at once."""
    running = Step.objects.filter(status=Step.Status.RUNNING)
    stood = Switch.objects.filter(ended_at=None, is_now=True)
    names = set(stood.values_list("name", flat=True))
    if MAINTENANCE in names:
        return running
    return running.filter(owner_id__in=[n.removeprefix(OWNER_PREFIX) for n in names])


def _release(turn: Turn, *, released: list[Step]) -> None:
    for step in stopped_steps().filter(task=turn.task):
        if turn.release_attempt(step):
            released.append(step)
            logger.warning(
                "a step was given back on an operator's wish",
                extra={"task_id": str(turn.task.pk), "step_id": step.step_id},
            )
    # At once, so that the budget is right. A settlement that comes corrects it.
    presume_lost(turn)


def wake_workers() -> None:
    """Ask workers to look at what may be claimed again."""
    for queue in ACTORS:
        send_missing_hints(queue, claims.count_ready(queue, most=BATCH))
