"""A task, what it was asked and how far it is; and the results it left."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from octollm.access.models import Owner
from octollm.ids import new_id

NANO_PER_USD = 1_000_000_000


class Task(models.Model):
    """What a user asked for, under a budget.

    The columns up to ``updated_at`` are the handed-over ones. Every text in them is
    concealed: personal data stands as placeholders whose values the vault holds.
    Only ``turn.py`` writes a row that exists.

    Attributes:
        approval: ``never``, ``always`` or ``above:`` and dollars.
        run: counts the lives between terminal states, from 1.
        replan_count: plan versions that this run asked for.
        deadline_at: of this run; it moves by as long as the clock stands.
        elapsed_s: seconds that the clock has run, but for the stretch since
            ``clock_started_at``.
        clock_stopped_at: since when it stands; nothing ends by its deadline then.
        cancel_requested_at: when the caller cancelled, with what was spent by then.
        forked_from: the task that this one repeats with a change, up to the step
            ``forked_step``.
        model: the only one that this task's calls ask; empty: the operator's choice.
        removed_parts: what retention has taken since the task ended: ``events``,
            ``results``, ``vault``.
    """

    class Status(models.TextChoices):
        """The public status, in the order lived."""

        PENDING = "pending"  # accepted, nothing claimed yet
        PROCESSING = "processing"  # its time runs
        COMPLETED = "completed"  # no criterion is not_met
        FAILED = "failed"  # a criterion is not met, or it was stopped
        CANCELLED = "cancelled"  # the caller stopped it

    class Stage(models.TextChoices):
        """Where inside its status a task is, in the order lived."""

        QUEUED = "queued"  # waits for a worker
        PLANNING = "planning"  # the plan step runs
        AWAITING_APPROVAL = "awaiting_approval"  # a person must say yes
        EXECUTING = "executing"  # work steps run
        JUDGING = "judging"  # the judge step runs
        DONE = "done"  # terminal

    class Priority(models.TextChoices):
        """What is claimed first, lowest first in this list."""

        LOW = "low"
        MEDIUM = "medium"
        HIGH = "high"
        CRITICAL = "critical"

    TERMINAL = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    goal = models.CharField()
    status = models.CharField(
        choices=Status, default=Status.PENDING, db_default=Status.PENDING
    )
    priority = models.CharField(
        choices=Priority, default=Priority.MEDIUM, db_default=Priority.MEDIUM
    )
    constraints = models.JSONField(default=list, db_default=[])
    context = models.JSONField(default=dict, db_default={})
    acceptance_criteria = models.JSONField(default=list, db_default=[])
    task_metadata = models.JSONField(default=dict, db_default={})
    assigned_arm = models.CharField(null=True, blank=True)  # noqa: DJ001  # handed over
    max_cost_usd = models.DecimalField(
        max_digits=12, decimal_places=6, default=Decimal(1), db_default=Decimal(1)
    )
    max_time_seconds = models.IntegerField(default=600, db_default=600)
    max_tokens = models.IntegerField(default=10_000, db_default=10_000)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    updated_at = models.DateTimeField(db_default=Now(), editable=False)

    owner = models.ForeignKey(
        Owner, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    stage = models.CharField(
        choices=Stage, default=Stage.QUEUED, db_default=Stage.QUEUED
    )
    run = models.IntegerField(default=1, db_default=1)
    plan_version = models.IntegerField(default=0, db_default=0)
    started_at = models.DateTimeField(null=True, blank=True)
    deadline_at = models.DateTimeField(null=True, blank=True)
    finished_at = models.DateTimeField(null=True, blank=True)
    spent_nano = models.BigIntegerField(default=0, db_default=0)
    held_nano = models.BigIntegerField(default=0, db_default=0)
    spent_tokens = models.BigIntegerField(default=0, db_default=0)
    held_tokens = models.BigIntegerField(default=0, db_default=0)
    # Steps that were refused because of what others hold, since some came free.
    budget_waiters = ArrayField(models.UUIDField(), default=list, db_default=[])
    # The month whose cap of the owner it counts against; NULL: there was none.
    cap_month = models.DateField(null=True, editable=False)
    event_seq = models.IntegerField(default=0, db_default=0)
    event_head = models.CharField(max_length=64, default="", db_default="")
    grants = models.JSONField(default=dict, db_default={})
    # The families of attacks that its own texts were flagged for.
    taint = ArrayField(models.CharField(), default=list, db_default=[])
    plan_only = models.BooleanField(default=False, db_default=False)
    approval = models.CharField(default="never", db_default="never")
    # The clock: what earlier stretches took, and since when it runs or stands.
    elapsed_s = models.FloatField(default=0.0, db_default=0.0)
    clock_started_at = models.DateTimeField(null=True, blank=True)
    clock_stopped_at = models.DateTimeField(null=True, blank=True)
    cancel_requested_at = models.DateTimeField(null=True, blank=True)
    cancel_spent_nano = models.BigIntegerField(default=0, db_default=0)
    cancel_spent_tokens = models.BigIntegerField(default=0, db_default=0)
    replan_count = models.IntegerField(default=0, db_default=0)
    forked_from = models.ForeignKey(
        "self", null=True, blank=True, on_delete=models.SET_NULL, related_name="forks"
    )
    forked_step = models.CharField(default="", db_default="", blank=True)
    model = models.CharField(default="", db_default="", blank=True)
    given_plan = models.JSONField(null=True, blank=True)
    stop_reason = models.CharField(default="", db_default="", blank=True)
    error = models.JSONField(null=True, blank=True)
    removed_parts = ArrayField(models.CharField(), default=list, db_default=[])
    idempotency_mac = models.CharField(  # noqa: DJ001  # NULLs are not equal
        max_length=64, null=True, editable=False
    )
    request_mac = models.CharField(
        max_length=64, default="", db_default="", editable=False
    )

    class Meta:
        """Handed-over index names, and what the database itself guards."""

        db_table = "tasks"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(fields=["status"], name="idx_tasks_status"),
            models.Index(fields=["created_at"], name="idx_tasks_created_at"),
            models.Index(
                fields=["owner", "-created_at", "-id"], name="idx_tasks_owner_created"
            ),
            models.Index(
                fields=["deadline_at"],
                name="idx_tasks_deadline",
                condition=Q(status="processing"),
            ),
            models.Index(
                fields=["finished_at", "id"],
                name="idx_tasks_finished",
                condition=Q(finished_at__isnull=False),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="tasks_status",
                condition=Q(
                    status__in=(
                        "pending",
                        "processing",
                        "completed",
                        "failed",
                        "cancelled",
                    )
                ),
            ),
            models.CheckConstraint(
                name="tasks_priority",
                condition=Q(priority__in=("low", "medium", "high", "critical")),
            ),
            models.CheckConstraint(
                name="tasks_budget",
                condition=Q(
                    max_cost_usd__gte=0, max_time_seconds__gte=1, max_tokens__gte=1
                ),
            ),
            models.CheckConstraint(
                name="tasks_ledger",
                condition=Q(
                    spent_nano__gte=0,
                    held_nano__gte=0,
                    spent_tokens__gte=0,
                    held_tokens__gte=0,
                ),
            ),
            models.CheckConstraint(
                name="tasks_terminal",
                condition=Q(
                    status__in=("pending", "processing"), finished_at__isnull=True
                )
                | Q(
                    status__in=("completed", "failed", "cancelled"),
                    finished_at__isnull=False,
                    stage="done",
                ),
            ),
            models.CheckConstraint(
                name="tasks_clock",
                condition=Q(started_at__isnull=True) | Q(deadline_at__isnull=False),
            ),
            models.UniqueConstraint(
                name="tasks_idempotency", fields=["owner", "idempotency_mac"]
            ),
        ]

    def __str__(self) -> str:
        """Show the beginning of the goal."""
        return self.goal[:80]

    @property
    def is_terminal(self) -> bool:
        """Whether no machine will change it any more."""
        return self.status in self.TERMINAL

    @property
    def max_cost_nano(self) -> int:
        """The dollar cap in nano-dollars."""
        return int(self.max_cost_usd * NANO_PER_USD)

    @property
    def free_nano(self) -> int:
        """What is neither spent nor held of the dollars, in nano-dollars."""
        return max(0, self.max_cost_nano - self.spent_nano - self.held_nano)

    @property
    def free_tokens(self) -> int:
        """What is neither spent nor held of the tokens."""
        return max(0, self.max_tokens - self.spent_tokens - self.held_tokens)

    @property
    def spent_usd(self) -> Decimal:
        """What was spent, in dollars, exact."""
        return Decimal(self.spent_nano) / NANO_PER_USD

    @property
    def seconds_run(self) -> float:
        """How long its clock has run; it stands while the task waits for a yes."""
        running_s = 0.0
        if self.clock_started_at is not None:
            end = self.finished_at or datetime.now(UTC)
            running_s = (end - self.clock_started_at).total_seconds()
        return round(self.elapsed_s + max(0.0, running_s), 3)


class TaskResult(models.Model):
    """What the user gets: one row per run that ended, latest last."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="results",
        db_index=False,
    )
    result_data = models.JSONField()
    confidence = models.DecimalField(max_digits=3, decimal_places=2, null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    run = models.IntegerField(default=1, db_default=1)
    plan_version = models.IntegerField(default=0, db_default=0)

    class Meta:
        """Handed-over names."""

        db_table = "task_results"
        ordering = ["created_at", "id"]
        indexes = [models.Index(fields=["task"], name="idx_task_results_task_id")]
        constraints = [
            models.CheckConstraint(
                name="task_results_confidence",
                condition=Q(confidence__isnull=True)
                | Q(confidence__gte=0, confidence__lte=1),
            ),
            models.UniqueConstraint(name="task_results_run", fields=["task", "run"]),
        ]

    def __str__(self) -> str:
        """Show whose result it is."""
        return f"{self.task_id} run {self.run}"


class Verdict(models.Model):
    """The judge's finding on one criterion or constraint of one plan version."""

    class Finding(models.TextChoices):
        """What was found."""

        MET = "met"
        NOT_MET = "not_met"
        NOT_CHECKED = "not_checked"  # could not be computed; never a guess

    class Kind(models.TextChoices):
        """What the judge looked at."""

        CRITERION = "criterion"
        CONSTRAINT = "constraint"

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="verdicts",
        db_index=False,
    )
    run = models.IntegerField()
    plan_version = models.IntegerField()
    kind = models.CharField(choices=Kind)
    position = models.IntegerField()
    criterion = models.CharField()
    verdict = models.CharField(choices=Finding)
    evidence = models.CharField(default="")
    method = models.CharField(default="")
    score = models.FloatField(null=True)

    class Meta:
        """One verdict per criterion and plan version."""

        db_table = "verdicts"
        ordering = ["task", "run", "plan_version", "kind", "position"]
        constraints = [
            models.UniqueConstraint(
                name="verdicts_once",
                fields=["task", "run", "plan_version", "kind", "position"],
            ),
            models.CheckConstraint(
                name="verdicts_verdict",
                condition=Q(verdict__in=("met", "not_met", "not_checked")),
            ),
            models.CheckConstraint(
                name="verdicts_kind", condition=Q(kind__in=("criterion", "constraint"))
            ),
        ]

    def __str__(self) -> str:
        """Show the finding and what it is about."""
        return f"{self.verdict}: {self.criterion[:60]}"


class TaskEvent(models.Model):
    """One change of a task, chained to the one before by an HMAC.

    ``seq`` counts from 1 within the task and is given out under the task's lock, so
    a reader that has seen ``seq`` n has seen all before it.
    """

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="events",
        db_index=False,
    )
    seq = models.IntegerField()
    type = models.CharField(max_length=50)
    at = models.DateTimeField()
    data = models.JSONField(default=dict, db_default={})
    mac = models.CharField(max_length=64)

    class Meta:
        """One row per number."""

        db_table = "task_events"
        ordering = ["task", "seq"]
        constraints = [
            models.UniqueConstraint(name="task_events_seq", fields=["task", "seq"]),
            models.CheckConstraint(
                name="task_events_positive", condition=Q(seq__gte=1)
            ),
        ]

    def __str__(self) -> str:
        """Show the number and the kind."""
        return f"{self.seq} {self.type}"
