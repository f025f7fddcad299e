"""The planner for callers from outside: a task of theirs that is planned and not run.

So its texts are screened, its model calls are charged, it survives this process, and
it is seen in the console like any other task.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from uuid import UUID

from django.conf import settings

from octollm.access.models import Owner
from octollm.errors import ArmUnavailableError
from tasks_app import services
from tasks_app.models import Task

# Beyond the time of planning: until a worker takes it up, and for its records.
MARGIN_S = 5.0
FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.2

# What a failed planning is answered with, by the code of its error; 500 for others.
# 422: another contract may be planned; 502 to 504: the same one may be, later or once
# an operator has looked.
STATUSES: Mapping[str, int] = MappingProxyType(
    {
        "needs_model": 422,
        "missing_input": 422,
        "invalid_plan": 422,
        "budget_exceeded": 422,
        "model_refused": 422,
        "cancelled": 409,
        "unsafe_content": 502,
        "model_failed": 502,
        "model_format": 502,
        "model_answer": 502,
        "model_truncated": 502,
        "model_unavailable": 503,
        "model_misconfigured": 503,
        "unpriced_model": 503,
        "arm_unavailable": 503,
        "screening_unavailable": 503,
        "database_unavailable": 503,
        "worker_lost": 503,
        "queue_ttl": 503,
        "deadline_exceeded": 504,
    }
)


class _Waits:
    """How many threads of this process wait for plans; safe to use from any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._count = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """Count as waiting.

        Raises:
            ArmUnavailableError: as many as may do so already.
        """
        with self._lock:
            if self._count >= settings.OCTOLLM_PLANNER_WAITS:
                raise ArmUnavailableError(
                    "This process waits for as many plans as it may; ask again, or "
                    "submit the goal with plan_only.",
                    arm_name="planner",
                )
            self._count += 1
        try:
            yield
        finally:
            with self._lock:
                self._count -= 1


_waits = _Waits()


def plan_for(
    owner: Owner, submission: services.Submission
) -> tuple[services.Accepted, Task | None]:
    """Submit what is to be planned, and wait for its end for a bounded time.

    Returns the answer to the submission, and the task if it has ended; otherwise it
    goes on without us.

    Raises:
        ArmUnavailableError: too many wait in this process; nothing was submitted.
        OctoLLMError: the submission was refused; see ``services.submit_task``.
    """
    limit_s = min(settings.OCTOLLM_PLAN_TIMEOUT_S, submission.max_time_seconds)
    with _waits.one():
        accepted = services.submit_task(owner, submission)
        return accepted, _ended(accepted.task_id, within_s=limit_s + MARGIN_S)


def _ended(task_id: UUID, *, within_s: float) -> Task | None:
    """Return the task once it has ended, or nothing when the time is over."""
    deadline, pause_s = time.monotonic() + within_s, FIRST_PAUSE_S
    ended = Task.objects.filter(pk=task_id, status__in=Task.TERMINAL)
    while (task := ended.defer("context", "given_plan").first()) is None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            return None
        time.sleep(min(pause_s, left_s))
        pause_s = min(pause_s * 1.3, LONGEST_PAUSE_S)
    return task
