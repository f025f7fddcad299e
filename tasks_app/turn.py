"""The lock, every legal change, and its events: the only writer of a task's state.

Every change to a task happens inside ``with task_turn(task_id) as turn``. The task
row is the one mutex; the lock order is task, then steps. No network inside.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

from octollm.errors import IllegalStateError
from octollm.rows import RowReader
from octollm.types import JSONObject
from tasks_app import caps, statements, states
from tasks_app.claim import Claim, Ending
from tasks_app.models import (
    Approval,
    Plan,
    Step,
    Task,
    TaskResult,
    Verdict,
)
from tasks_app.step_rows import StepRows
from tasks_app.steps_read import plan_digest
from tasks_app.task_row import Stage, Status

__all__ = ["Claim", "Ending", "Turn", "open_task", "task_turn"]

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


def open_task(task: Task, *, copied: Sequence[Step] = ()) -> None:
    """Insert a task with its plan step, ready to be claimed, in one transaction.

    ``copied`` are steps of the task that it was forked from, done there; its plan is
    to keep them.
    """
    with transaction.atomic():
        caps.note_month(task)
        task.save(force_insert=True)
        turn = Turn(task)
        turn.event("task.submitted", priority=task.priority)
        if task.forked_from_id is not None:
            turn.note_fork(copied)
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


class Turn(StepRows):
    """One locked change to one task; ``flush`` writes what was gathered."""

    # Plan versions ------------------------------------------------------------
    def add_plan(
        self,
        plan: Plan,
        steps: Sequence[Step],
        *,
        kept: Sequence[UUID] = (),
        grants: JSONObject | None = None,
        approval: Approval | None = None,
        is_run: bool = True,
    ) -> None:
        """Record a plan version and its steps; execution begins if they are to run.

        With ``approval`` nothing runs until a person has said yes to it.

        ``kept`` are steps of the version before that stay, in their order; the others
        are superseded. ``grants`` are what the plan uses; those of the first one are
        the task's, unless it has yet to be approved.

        Raises:
            IllegalStateError: a step that is not kept runs.
        """
        if not is_run:
            for step in steps:
                step.status = Step.Status.SKIPPED
        if self.task.plan_version:
            self._supersede(kept)
        plan.task_id = self.task.pk
        plan.version = self.task.plan_version + 1
        plan.run = self.task.run
        plan.grants = grants or {}
        plan.step_ids = [*kept, *(step.pk for step in steps)]
        self.add_steps(steps)
        plan.save(force_insert=True)
        if plan.version == 1 and approval is None:
            self.set(grants=plan.grants)
        self.set(plan_version=plan.version)
        self.event(
            "plan.made",
            version=plan.version,
            source=plan.source,
            steps=[step.step_id for step in steps],
            estimated_cost=str(plan.total_estimated_cost),
            estimated_time=plan.total_estimated_time,
            **({"reason": plan.reason} if plan.version > 1 else {}),
        )
        if approval is None:
            self.move(Status(self.task.status), Stage.EXECUTING)
        else:
            self._await_approval(approval)

    def _supersede(self, kept: Sequence[UUID]) -> None:
        """Take the steps that are not kept out of the plan, with their envelopes."""
        row = self.row(
            statements.SUPERSEDE_STEPS,
            task=self.task.pk,
            kept=list(kept),
            sources=states.STEP.before(Step.Status.SUPERSEDED),
        )
        step_ids, nano, tokens = row or (None, 0, 0)
        running = Step.objects.filter(task_id=self.task.pk, status=Step.Status.RUNNING)
        if running.exclude(pk__in=kept).exists():
            raise IllegalStateError("A step is under way; the plan cannot change now.")
        if step_ids:
            self.hold(nano=-int(nano), tokens=-int(tokens))
            self.event("step.superseded", step_ids=step_ids)

    # Approval -----------------------------------------------------------------
    def _await_approval(self, approval: Approval) -> None:
        """Let nothing run, and no clock, until a person has decided."""
        self.move(Status(self.task.status), Stage.AWAITING_APPROVAL)
        self.stop_clock()
        approval.task_id = self.task.pk
        approval.plan_version = self.task.plan_version
        approval.digest = plan_digest(self.task.pk, approval.plan_version)
        approval.save(force_insert=True)
        self.event(
            "approval.requested",
            version=approval.plan_version,
            reason=approval.reason,
            expires_at=approval.expires_at.isoformat(),
        )

    def end_approval(
        self,
        approval: Approval,
        state: Approval.State,
        *,
        by: str = "",
        comment: str = "",
    ) -> None:
        """Record the answer; after a yes the clock runs again and steps may start.

        The comment is stored concealed, and not in the event.

        Raises:
            IllegalStateError: it was answered before.
        """
        if approval.state != Approval.State.PENDING:
            raise IllegalStateError(f"The plan was {approval.state} already.")
        approval.state, approval.decided_by = state, by[:200]
        approval.comment, approval.decided_at = comment, datetime.now(UTC)
        approval.save(force_update=True)
        self.event(f"approval.{state}", version=approval.plan_version, by=by)
        if state == Approval.State.APPROVED:
            self.move(Status(self.task.status), Stage.EXECUTING)
            self.start_clock()

    # The end, and another run ---------------------------------------------------
    def record_verdicts(self, verdicts: Sequence[Verdict]) -> None:
        """Keep what was found on this plan version; a finding that is there stays."""
        for verdict in verdicts:
            verdict.task_id, verdict.run = self.task.pk, self.task.run
            verdict.plan_version = self.task.plan_version
        Verdict.objects.bulk_create(verdicts, ignore_conflicts=True)

    def close(
        self,
        status: Status,
        *,
        result: JSONObject,
        confidence: float | None = None,
        stop_reason: str = "",
        error: JSONObject | None = None,
        plan_version: int | None = None,
    ) -> None:
        """End the task: cancel what is open, keep the result, give holds back.

        Verdicts are recorded before. The result is that of the current plan version unless another is named.

        Raises:
            IllegalStateError: it has ended before.
        """
        self.require_open()
        self.cancel_steps()
        if self.task.stage == Stage.AWAITING_APPROVAL:
            self._withdraw_approval()
        self.move(status, Stage.DONE)
        now = datetime.now(UTC)
        self.count_time(now)
        self.set(
            finished_at=now,
            clock_stopped_at=None,
            stop_reason=stop_reason,
            error=error,
        )
        TaskResult(
            task_id=self.task.pk,
            result_data=result,
            confidence=None if confidence is None else round(confidence, 2),
            run=self.task.run,
            plan_version=plan_version or self.task.plan_version,
        ).save(force_insert=True)
        self.event(
            f"task.{status}",
            stop_reason=stop_reason,
            **({"error": error["code"]} if error else {}),
        )

    def _withdraw_approval(self) -> None:
        pending = Approval.objects.filter(
            task_id=self.task.pk, state=Approval.State.PENDING
        )
        for approval in pending:
            self.end_approval(approval, Approval.State.WITHDRAWN)

    def sum_up(self) -> None:
        """Set what is spent and held to the sums of the rows; tell the difference."""
        names = ("held_nano", "held_tokens", "spent_nano", "spent_tokens")
        sums = self.row(statements.SUMS, task=self.task.pk) or (0, 0, 0, 0)
        found = dict(zip(names, map(int, sums), strict=True))
        differences = {k: v - getattr(self.task, k) for k, v in found.items()}
        self.set(**found)
        self.event("ledger.repaired", **differences)

    def reopen(self, *, reason: str) -> None:
        """Begin another run of a task that failed, with a clock of its own.

        Its dollars and tokens are those of all runs together. The caller makes steps
        wait again, or adds one that plans.

        Raises:
            IllegalStateError: the task is in another state than ``failed``, or what it
                would work on was removed.
        """
        if {"results", "vault"} & set(self.task.removed_parts):
            raise IllegalStateError("What the task worked on is kept no longer.")
        now, run = datetime.now(UTC), self.task.run + 1
        states.TASK.require(self.task.status, Status.PROCESSING)
        self.move(Status.PROCESSING, Stage.EXECUTING)
        self.set(
            run=run,
            replan_count=0,
            started_at=self.task.started_at or now,
            deadline_at=now + timedelta(seconds=self.task.max_time_seconds),
            clock_started_at=now,
            finished_at=None,
            stop_reason="",
            error=None,
        )
        self.event("task.reopened", run=run, reason=reason)
