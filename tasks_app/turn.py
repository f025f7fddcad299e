"""The lock, every legal change, and its events: the only writer of a task's state.

Every change to a task happens inside ``with task_turn(task_id) as turn``. The task
row is the one mutex; the lock order is task, then steps. No network inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, TypeAlias, cast
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction
from psycopg.types.json import Jsonb

from octollm import metrics
from octollm.errors import IllegalStateError
from octollm.ids import new_id
from octollm.rows import RowReader
from octollm.types import JSONObject
from tasks_app import caps, chain, statements
from tasks_app.hints import Hints, send_hints
from tasks_app.models import Attempt, Plan, Step, Task, TaskEvent, TaskResult, Verdict

Status: TypeAlias = Task.Status
Stage: TypeAlias = Task.Stage

# What a turn needs of a task; what it never needs may be large.
TASKS = RowReader(
    Task,
    without=(
        *("goal", "context", "constraints", "acceptance_criteria", "task_metadata"),
        "given_plan",
    ),
)
_LOCK = (
    f"SELECT {TASKS.columns('tasks')} FROM tasks WHERE id = %s "  # noqa: S608  # our names
    "FOR NO KEY UPDATE"
)
PRIORITY_RANKS = {"critical": 0, "high": 1, "medium": 2, "low": 3}

# Every legal change of a task's status by the machine; the rest is refused.
LEGAL = {
    (Status.PENDING, Status.PROCESSING),
    (Status.PENDING, Status.FAILED),
    (Status.PENDING, Status.CANCELLED),
    (Status.PROCESSING, Status.COMPLETED),
    (Status.PROCESSING, Status.FAILED),
    (Status.PROCESSING, Status.CANCELLED),
}


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A worker's hold on a step, fenced by ``claim_id``.

    ``request_id`` belongs to the invocation and outlives a lost claim; unless
    ``is_new_request`` an attempt before used it. ``step`` and ``task`` are as they
    were at the claim.
    """

    claim_id: UUID
    request_id: UUID
    is_new_request: bool
    attempt: int
    worker: str
    run: int
    deadline_at: datetime
    step: Step = field(compare=False)
    task: Task = field(compare=False)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How an attempt ended, and what that makes of its step.

    Attributes:
        status: the step's new status; ``ready`` for a retry.
        outcome: the attempt's.
        delay_s: how long a retry waits.
        keeps_request: the invocation's outcome is unknown, so its id stays.
        is_counted: whether it counts against the limit of attempts.
    """

    status: str
    outcome: str
    output: JSONObject | None = None
    evidence: Sequence[JSONObject] = ()
    confidence: float | None = None
    confidence_reason: str = ""
    taint: tuple[str, ...] = ()
    error: JSONObject | None = None
    log: str = ""
    instance: str = ""
    reason: str = ""
    delay_s: float = 0.0
    keeps_request: bool = False
    is_counted: bool = True


@contextmanager
def task_turn(task_id: UUID) -> Iterator[Turn]:
    """Lock one task, let the caller change it, write its events, commit.

    Raises:
        Task.DoesNotExist: there is no such task.
    """
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute(_LOCK, [task_id])
            row = cursor.fetchone()
        if row is None:
            raise Task.DoesNotExist
        turn = Turn(TASKS.read(row))
        yield turn
        turn.flush()


def open_task(task: Task) -> None:
    """Insert a task with its plan step, ready to be claimed, in one transaction."""
    with transaction.atomic():
        caps.note_month(task)
        task.save(force_insert=True)
        turn = Turn(task)
        turn.event("task.submitted", priority=task.priority)
        turn.add_steps(
            [
                Step(
                    step_id="plan",
                    kind=Step.Kind.PLAN,
                    description="Make a plan",
                    arm="planner",
                    capability="planning",
                )
            ]
        )
        turn.advance()
        turn.flush()
        caps.carry(task, since=caps.Share())


class Turn:
    """One locked change to one task; ``flush`` writes what was gathered."""

    def __init__(self, task: Task) -> None:
        """Take a task whose row is locked, or new in this transaction."""
        self.task = task
        self._events: list[TaskEvent] = []
        self._changed: dict[str, Any] = {}
        self._share = caps.share_of(task)

    # The task -----------------------------------------------------------------
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

    def _move(self, status: Status, stage: Stage) -> None:
        if status != self.task.status:
            if (self.task.status, status) not in LEGAL:
                raise IllegalStateError(
                    f"A task that is {self.task.status} cannot become {status}."
                )
            self.set(status=status)
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
        rows = self._rows(statements.WAKE, steps=self.task.budget_waiters)
        self.set(budget_waiters=[])
        for (queue,) in rows:
            transaction.on_commit(partial(send_hints, queue, Hints(count=1)))

    # Steps --------------------------------------------------------------------
    def add_steps(self, steps: Sequence[Step]) -> None:
        """Insert waiting steps and hold their envelopes."""
        for step in steps:
            step.task_id = self.task.pk
            step.owner_id = self.task.owner_id
            step.priority_rank = PRIORITY_RANKS[self.task.priority]
        Step.objects.bulk_create(steps)
        self.hold(
            nano=sum(step.envelope_nano for step in steps),
            tokens=sum(step.envelope_tokens for step in steps),
        )

    def draw(self, step: Step, *, nano: int, tokens: int) -> None:
        """Take from a step's envelope what a charge is about to hold instead."""
        if nano or tokens:
            step.envelope_nano -= nano
            step.envelope_tokens -= tokens
            step.save(update_fields=["envelope_nano", "envelope_tokens"])
            self.hold(nano=-nano, tokens=-tokens)

    def add_plan(
        self,
        plan: Plan,
        steps: Sequence[Step],
        *,
        grants: JSONObject | None = None,
        is_run: bool = True,
    ) -> None:
        """Record a plan version and its steps; execution begins if they are to run.

        ``grants`` are what the plan uses; those of the first one are the task's.
        """
        if not is_run:
            for step in steps:
                step.status = Step.Status.SKIPPED
        plan.task_id = self.task.pk
        plan.version = self.task.plan_version + 1
        plan.step_ids = [step.pk for step in steps]
        self.add_steps(steps)
        plan.save(force_insert=True)
        if plan.version == 1:
            self.set(grants=grants or {})
        self.set(plan_version=plan.version, stage=Stage.EXECUTING)
        self.event(
            "plan.made",
            version=plan.version,
            source=plan.source,
            steps=[step.step_id for step in steps],
            estimated_cost=str(plan.total_estimated_cost),
            estimated_time=plan.total_estimated_time,
        )

    def start_step(self, step: Step, *, worker: str) -> Claim | None:
        """Claim a ready step for a worker; nothing when it is ready no more."""
        claim_id, fresh_id = new_id(), new_id()
        row = self._row(
            statements.START_STEP,
            step=step.pk,
            claim_id=claim_id,
            request_id=fresh_id,
            worker=worker,
            lease=timedelta(seconds=settings.OCTOLLM_LEASE_S),
        )
        if row is None:
            return None
        attempt, request_id, now = row
        if self.task.started_at is None:
            limit = timedelta(seconds=self.task.max_time_seconds)
            self.set(started_at=now, deadline_at=now + limit)
        stage = {"plan": Stage.PLANNING, "judge": Stage.JUDGING}
        self._move(Status.PROCESSING, stage.get(step.kind, Stage.EXECUTING))
        self.event("step.started", step_id=step.step_id, attempt=attempt)
        deadline_at = self.task.deadline_at
        assert deadline_at is not None  # noqa: S101  # set above
        return Claim(
            claim_id=claim_id,
            request_id=request_id,
            is_new_request=request_id == fresh_id,
            attempt=attempt,
            worker=worker,
            run=self.task.run,
            deadline_at=deadline_at,
            step=step,
            task=self.task,
        )

    def end_attempt(self, claim: Claim, ending: Ending) -> bool:
        """Record how a claim ended; false when the claim was lost meanwhile."""
        return self._end(claim.step, claim.claim_id, ending)

    def lose_attempt(self, step: Step) -> JSONObject | None:
        """Take a step away from a worker whose lease ran out.

        It becomes ready again under the same request id, since nobody knows how far
        the invocation got; after the last attempt it is dead, and the error that
        says so is returned.
        """
        if step.claim_id is None:
            return None
        error: JSONObject | None = None
        if step.attempt_count >= settings.OCTOLLM_MAX_ATTEMPTS:
            message = f"The worker was lost in each of {step.attempt_count} attempts."
            error = {"code": "worker_lost", "message": message}
        ending = Ending(
            status=Step.Status.DEAD if error else Step.Status.READY,
            outcome=Attempt.Outcome.LOST,
            error=error,
            keeps_request=error is None,
        )
        self._end(step, step.claim_id, ending)
        return error

    def _end(self, step: Step, claim_id: UUID, ending: Ending) -> bool:
        error = ending.error or {}
        is_final = ending.status != Step.Status.READY
        row = self._row(
            statements.END_ATTEMPT,
            step=step.pk,
            claim_id=claim_id,
            status=ending.status,
            outcome=ending.outcome,
            is_final=is_final,
            delay=timedelta(seconds=ending.delay_s),
            keeps_request=ending.keeps_request,
            uncounted=0 if ending.is_counted else 1,
            output=None if ending.output is None else Jsonb(ending.output),
            evidence=Jsonb(list(ending.evidence)),
            confidence=ending.confidence,
            confidence_reason=ending.confidence_reason,
            taint=list(ending.taint),
            error=Jsonb(ending.error) if ending.error else None,
            error_code=str(error.get("code", "")),
            error_message=str(error.get("message", "")),
            log=ending.log,
            instance=ending.instance,
            reason=ending.reason,
        )
        if row is None:
            metrics.CLAIMS.labels("late").inc()
            return False
        metrics.CLAIMS.labels(ending.outcome).inc()
        if is_final:
            metrics.STEPS.labels(step.arm, ending.status).inc()
            self.hold(nano=-row[0], tokens=-row[1])
            self.wake()
        self.event(
            f"step.{ending.status if is_final else ending.outcome}",
            step_id=step.step_id,
            **({"error": error["code"]} if error else {}),
        )
        return True

    def advance(self) -> int:
        """Make ready what can run now, and return how many steps that are."""
        step_ids = sorted(
            row[0] for row in self._rows(statements.READY_STEPS, task=self.task.pk)
        )
        if step_ids:
            self.event("step.ready", step_ids=step_ids)
        return len(step_ids)

    def skip_dependants(self) -> None:
        """Skip what depends on a step that will never be done."""
        rows = self._rows(statements.SKIP_STEPS, task=self.task.pk)
        if rows:
            self.hold(
                nano=-sum(row[1] for row in rows), tokens=-sum(row[2] for row in rows)
            )
            self.event("step.skipped", step_ids=[row[0] for row in rows])

    # The end ------------------------------------------------------------------
    def close(
        self,
        status: Status,
        *,
        result: JSONObject,
        confidence: float | None = None,
        verdicts: Sequence[Verdict] = (),
        stop_reason: str = "",
        error: JSONObject | None = None,
    ) -> None:
        """End the task: cancel what is open, keep the result, give holds back.

        Raises:
            IllegalStateError: it has ended before.
        """
        self.require_open()
        row = self._row(statements.CANCEL_STEPS, task=self.task.pk)
        step_ids, nano, tokens = row or (None, 0, 0)
        if step_ids:
            self.hold(nano=-int(nano), tokens=-int(tokens))
            self.event("step.cancelled", step_ids=step_ids)
        self._move(status, Stage.DONE)
        self.set(finished_at=datetime.now(UTC), stop_reason=stop_reason, error=error)
        version = self.task.plan_version
        for verdict in verdicts:
            verdict.task_id, verdict.run = self.task.pk, self.task.run
            verdict.plan_version = version
        Verdict.objects.bulk_create(verdicts)
        TaskResult(
            task_id=self.task.pk,
            result_data=result,
            confidence=None if confidence is None else round(confidence, 2),
            run=self.task.run,
            plan_version=version,
        ).save(force_insert=True)
        self.event(
            f"task.{status}",
            stop_reason=stop_reason,
            **({"error": error["code"]} if error else {}),
        )

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
    def _rows(sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
        with connection.cursor() as cursor:
            cursor.execute(sql, parameters)
            return cast(list[tuple[Any, ...]], cursor.fetchall())

    def _row(self, sql: str, **parameters: Any) -> tuple[Any, ...] | None:
        rows = self._rows(sql, **parameters)
        return rows[0] if rows else None
