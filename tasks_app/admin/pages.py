"""What the pages of several histories show alike."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib import messages
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from octollm.errors import RequestError
from octollm.history import ReadOnlyAdmin, link_to
from tasks_app.models import NANO_PER_USD, TaskResult
from tasks_app.runs import retry_task

COLOURS = {
    "completed": "success",
    "done": "success",
    "met": "success",
    "settled": "success",
    "failed": "danger",
    "dead": "danger",
    "not_met": "danger",
    "lost": "danger",
    "processing": "info",
    "running": "info",
    "held": "info",
    "ready": "info",
    "cancelled": "warning",
    "skipped": "warning",
    "retry": "warning",
    "presumed": "warning",
    "corrected": "info",
    "not_checked": "warning",
}
SHOWN_GOAL = 60


def shortened(goal: str) -> str:
    """Return the beginning of a goal."""
    return goal if len(goal) <= SHOWN_GOAL else f"{goal[: SHOWN_GOAL - 1]}…"


def answer_of(result: TaskResult) -> str:
    """Return what a result says in a line."""
    return str(result.result_data.get("answer") or "no answer")


def shown_dollars(nano: int) -> str:
    """Return an amount with all its places; a call of $0.000003 is not 0."""
    return f"${Decimal(nano) / NANO_PER_USD:.9f}"


def retry_all(
    page: ReadOnlyAdmin, request: HttpRequest, task_ids: Iterable[UUID]
) -> None:
    """Retry tasks for an operator, and say which could not be."""
    count = 0
    for task_id in task_ids:
        try:
            retry_task(task_id)
        except RequestError as error:
            told = f"{task_id}: {error.message}"
            page.message_user(request, told, level=messages.WARNING)
        else:
            count += 1
    page.message_user(request, f"{count} go on.")


class StatusAdmin(ReadOnlyAdmin):
    """A history whose rows have a status."""

    @display(description="Status", label=COLOURS)
    def pill(self, row: Any) -> str:
        """Show the status as a coloured label with its word."""
        return str(row.status)


class TaskPartAdmin(StatusAdmin):
    """A history whose rows belong to tasks."""

    @display(description="Task", ordering="task__goal")
    def task_link(self, row: Any) -> SafeString:
        """Link to the task."""
        return link_to(row.task, shortened(row.task.goal))
