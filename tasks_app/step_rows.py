"""The steps and attempts of a task under its lock.

Only ``turn.py`` changes rows by it.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from psycopg.types.json import Jsonb

from octollm import metrics
from octollm.access import owners
from octollm.ids import new_id
from octollm.resilience import slots
from octollm.types import JSONObject
from tasks_app import statements, states
from tasks_app.claim import Claim, Ending
from tasks_app.models import (
    Attempt,
    Step,
)
from tasks_app.task_row import Stage, Status, TaskRow

# What is claimed first, lowest first.
PRIORITY_RANKS = {"critical": 0, "high": 1, "medium": 2, "low": 3}


class StepRows(TaskRow):
    """What a turn may change of steps and attempts."""

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

    def note_fork(self, copied: Sequence[Step]) -> None:
        """Insert steps that another task has done, and say where they come from."""
        for step in copied:
            step.status = Step.Status.DONE
        self.add_steps(copied)
        self.event(
            "task.forked",
            task_id=str(self.task.forked_from_id),
            from_step=self.task.forked_step,
            copied=[step.step_id for step in copied],
        )

    def draw(self, step: Step, *, nano: int, tokens: int) -> None:
        """Take from a step's envelope what a charge is about to hold instead."""
        if nano or tokens:
            step.envelope_nano -= nano
            step.envelope_tokens -= tokens
            step.save(update_fields=["envelope_nano", "envelope_tokens"])
            self.hold(nano=-nano, tokens=-tokens)

    def start_step(
        self, step: Step, *, worker: str, is_limited: bool = False
    ) -> Claim | None:
        """Claim a ready step for a worker.

        Nothing when it is ready no more, or its owner is limited and at the limit.
        """
        claim_id, fresh_id = new_id(), new_id()
        scope = owners.scope_of(self.task.owner_id)
        if is_limited and not slots.take(scope, claim_id):
            return None
        row = self.row(
            statements.START_STEP,
            step=step.pk,
            claim_id=claim_id,
            request_id=fresh_id,
            worker=worker,
            lease=timedelta(seconds=settings.OCTOLLM_LEASE_S),
        )
        if row is None:
            if is_limited:
                slots.free(claim_id)
            return None
        attempt, request_id, now, queued_s = row
        metrics.STEP_QUEUED.labels(step.arm).observe(queued_s)
        self._start_clock(now)
        stage = {"plan": Stage.PLANNING, "judge": Stage.JUDGING}
        self.move(Status.PROCESSING, stage.get(step.kind, Stage.EXECUTING))
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
            has_slot=is_limited,
            step=step,
            task=self.task,
        )

    def _start_clock(self, now: datetime) -> None:
        """Let the task's time run from its first claim on."""
        if self.task.started_at is None:
            limit = timedelta(seconds=self.task.max_time_seconds)
            self.set(started_at=now, deadline_at=now + limit, clock_started_at=now)

    def end_attempt(self, claim: Claim, ending: Ending) -> bool:
        """Record how a claim ended; false when the claim was lost meanwhile."""
        is_mine = self._end(claim.step, claim.claim_id, ending)
        if is_mine and claim.has_slot:
            slots.free(claim.claim_id)
        return is_mine

    def release_attempt(self, step: Step) -> bool:
        """Take a step away from a worker that is well, because all is to stop.

        It becomes ready again under the same request id; the attempt does not count.
        """
        ending = Ending(
            status=Step.Status.READY,
            outcome=Attempt.Outcome.RELEASED,
            keeps_request=True,
            is_counted=False,
        )
        return self._take_away(step, ending)

    def lose_attempt(self, step: Step) -> JSONObject | None:
        """Take a step away from a worker whose lease ran out.

        It becomes ready again under the same request id, since nobody knows how far
        the invocation got; after the last attempt it is dead, still with that id, for
        the run that may try it again, and the error that says so is returned.
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
            keeps_request=True,
        )
        self._take_away(step, ending)
        return error

    def _take_away(self, step: Step, ending: Ending) -> bool:
        claim_id = step.claim_id
        if claim_id is None or not self._end(step, claim_id, ending):
            return False
        slots.free(claim_id)
        return True

    def _end(self, step: Step, claim_id: UUID, ending: Ending) -> bool:
        states.STEP.require(Step.Status.RUNNING, ending.status)
        states.ATTEMPT.require(Attempt.Outcome.RUNNING, ending.outcome)
        row = self._write_ending(step, claim_id, ending)
        if row is None:
            self.execute(statements.NOTE_LATE, claim_id=claim_id)
            metrics.CLAIMS.labels("late").inc()
            return False
        metrics.CLAIMS.labels(ending.outcome).inc()
        if ending.is_final:
            metrics.STEPS.labels(step.arm, ending.status).inc()
            self.hold(nano=-row[0], tokens=-row[1])
            self.wake()
        self.event(
            f"step.{ending.status if ending.is_final else ending.outcome}",
            step_id=step.step_id,
            **({"error": ending.error["code"]} if ending.error else {}),
        )
        return True

    def _write_ending(
        self, step: Step, claim_id: UUID, ending: Ending
    ) -> tuple[Any, ...] | None:
        error = ending.error or {}
        return self.row(
            statements.END_ATTEMPT,
            step=step.pk,
            claim_id=claim_id,
            status=ending.status,
            outcome=ending.outcome,
            is_final=ending.is_final,
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

    def advance(self) -> int:
        """Make ready what can run now, and return how many steps that are.

        None while the plan waits for its approval.
        """
        if self.task.stage == Stage.AWAITING_APPROVAL:
            return 0
        has_begun = self.task.started_at is not None
        values = {"task": self.task.pk, "has_begun": has_begun}
        step_ids = sorted(row[0] for row in self.rows(statements.READY_STEPS, **values))
        if step_ids:
            self.event("step.ready", step_ids=step_ids)
        return len(step_ids)

    def skip_dependants(self) -> None:
        """Skip what depends on a step that will never be done."""
        rows = self.rows(statements.SKIP_STEPS, task=self.task.pk)
        if rows:
            self.hold(
                nano=-sum(row[1] for row in rows), tokens=-sum(row[2] for row in rows)
            )
            self.event("step.skipped", step_ids=[row[0] for row in rows])

    def cancel_steps(self) -> None:
        """End what is open; what it held goes back."""
        row = self.row(
            statements.CANCEL_STEPS,
            task=self.task.pk,
            sources=states.STEP.before(Step.Status.CANCELLED),
        )
        step_ids, nano, tokens, claim_ids = row or (None, 0, 0, None)
        if claim_ids:
            slots.free(*claim_ids)
        if step_ids:
            self.hold(nano=-int(nano), tokens=-int(tokens))
            self.event("step.cancelled", step_ids=step_ids)

    def end_orphans(self) -> None:
        """End attempts that no step is claimed for, as lost."""
        self.execute(
            statements.END_ORPHANS,
            task=self.task.pk,
            sources=states.ATTEMPT.before(Attempt.Outcome.LOST),
        )

    def reopen_steps(self, steps: Sequence[Step]) -> None:
        """Let steps wait again that ended without an output, with these envelopes."""
        rows = self.rows(
            statements.REOPEN_STEPS,
            task=self.task.pk,
            ids=[step.pk for step in steps],
            nanos=[step.envelope_nano for step in steps],
            tokens=[step.envelope_tokens for step in steps],
            sources=states.STEP.before(Step.Status.WAITING),
        )
        if rows:
            self.hold(
                nano=sum(row[1] for row in rows), tokens=sum(row[2] for row in rows)
            )
            self.event("step.reopened", step_ids=sorted(row[0] for row in rows))
