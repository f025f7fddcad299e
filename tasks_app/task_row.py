"""The row of a task under its lock: columns, events, money and clock.

Only ``turn.py`` uses it.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, cast

from django.db import connection, transaction
from psycopg.types.json import Jsonb

from octollm.errors import IllegalStateError
from tasks_app import caps, chain, statements, states
from tasks_app.hints import Hints, send_hints
from tasks_app.models import Task, TaskEvent

Status: TypeAlias = Task.Status
Stage: TypeAlias = Task.Stage


class TaskRow:
    """The locked row of one task, and what is to be written to it.

    ``flush`` writes the gathered columns and events.
    """

    def __init__(self, task: Task) -> None:
        """Take a task whose row is locked, or new in this transaction."""
        self.task = task
        self._events: list[TaskEvent] = []
        self._changed: dict[str, Any] = {}
        self._share = caps.share_of(task)

    def event(self, type_: str, **data: Any) -> None:
        """Add an event to the chain, with the next number."""
        task, at = self.task, datetime.now(UTC)
        task.event_seq += 1
        task.event_head = chain.sign(
            task.event_head,
            task_id=task.pk,
            seq=task.event_seq,
            type_=type_,
            at=at,
            data=data,
        )
        self._events.append(
            TaskEvent(
                task_id=task.pk,
                seq=task.event_seq,
                type=type_,
                at=at,
                data=data,
                mac=task.event_head,
            )
        )

    def set(self, **fields: Any) -> None:
        """Change columns of the task that are not its status."""
        for name, value in fields.items():
            setattr(self.task, name, value)
            self._changed[name] = value

    def move(self, status: Status, stage: Stage) -> None:
        """Change status and stage, if the tables allow it.

        Raises:
            IllegalStateError: they do not.
        """
        if status != self.task.status:
            states.TASK.require(self.task.status, status)
            self.set(status=status)
        if stage != self.task.stage:
            states.STAGE.require(self.task.stage, stage)
            self.set(stage=stage)

    def require_open(self) -> None:
        """Refuse to go on with a task that has ended.

        Raises:
            IllegalStateError: it has.
        """
        if self.task.is_terminal:
            raise IllegalStateError(f"The task is {self.task.status} already.")

    def hold(self, *, nano: int, tokens: int) -> None:
        """Add to what is held, or give back when negative."""
        self.set(
            held_nano=self.task.held_nano + nano,
            held_tokens=self.task.held_tokens + tokens,
        )

    def spend(self, *, nano: int, tokens: int) -> None:
        """Add to what was spent."""
        self.set(
            spent_nano=self.task.spent_nano + nano,
            spent_tokens=self.task.spent_tokens + tokens,
        )

    def wake(self) -> None:
        """Let steps that wait for budget ask again: something was given back."""
        if not self.task.budget_waiters:
            return
        rows = self.rows(statements.WAKE, steps=self.task.budget_waiters)
        self.set(budget_waiters=[])
        for (queue,) in rows:
            transaction.on_commit(partial(send_hints, queue, Hints(count=1)))

    # The clock ----------------------------------------------------------------
    def stop_clock(self) -> None:
        """Let the clock stand: no deadline ends the task meanwhile."""
        if self.task.clock_stopped_at is not None:
            return
        now = datetime.now(UTC)
        self.count_time(now)
        self.set(clock_stopped_at=now)

    def start_clock(self) -> None:
        """Go on; the deadline moves by as long as the clock stood."""
        now, stopped_at = datetime.now(UTC), self.task.clock_stopped_at
        deadline_at = self.task.deadline_at
        if stopped_at is not None and deadline_at is not None:
            self.set(deadline_at=deadline_at + max(now - stopped_at, timedelta()))
        self.set(clock_started_at=now, clock_stopped_at=None)

    def count_time(self, now: datetime) -> None:
        """Add the stretch that ends now to what the clock has run."""
        began = self.task.clock_started_at
        if began is not None:
            stretch_s = max(0.0, (now - began).total_seconds())
            self.set(elapsed_s=self.task.elapsed_s + stretch_s, clock_started_at=None)

    # Writing ------------------------------------------------------------------
    def flush(self) -> None:
        """Write the gathered columns and events in one statement, if there are any."""
        if not (self._events or self._changed):
            return
        columns = self._changed | {
            "event_seq": self.task.event_seq,
            "event_head": self.task.event_head,
        }
        values: dict[str, Any] = {
            name: Jsonb(value) if isinstance(value, dict) else value
            for name, value in columns.items()
        }
        with connection.cursor() as cursor:
            cursor.execute(
                statements.flush(tuple(columns)),
                {**values, **self._event_columns(), "task": self.task.pk},
            )
        caps.carry(self.task, since=self._share)
        self._share = caps.share_of(self.task)
        self._events, self._changed = [], {}

    def _event_columns(self) -> dict[str, list[Any]]:
        return {
            "seqs": [event.seq for event in self._events],
            "types": [event.type for event in self._events],
            "ats": [event.at for event in self._events],
            "datas": [json.dumps(event.data) for event in self._events],
            "macs": [event.mac for event in self._events],
        }

    @staticmethod
    def rows(sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement under the lock and return its rows."""
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cast(list[tuple[Any, ...]], cursor.fetchall())

    @staticmethod
    def execute(sql: str, **parameters: Any) -> None:
        """Run a statement that gives no rows."""
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)

    def row(self, sql: str, **parameters: Any) -> tuple[Any, ...] | None:
        """Run a statement and return its first row, or nothing."""
        rows = self.rows(sql, **parameters)
        return rows[0] if rows else None
