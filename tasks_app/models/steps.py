"""Plans, their steps, and every try of a step."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from octollm.access.models import Owner
from octollm.ids import new_id
from tasks_app.models.tasks import Task


class Plan(models.Model):
    """One version of a task's plan: an ordered list of steps.

    Steps belong to the task and keep their ids; a later version keeps, adds and
    supersedes some.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="plans",
        db_index=False,
    )
    version = models.IntegerField()
    source = models.CharField()
    # Why there is this version, and in which run it was made.
    reason = models.CharField(default="first", db_default="first")
    run = models.IntegerField(default=1, db_default=1)
    grants = models.JSONField(default=dict, db_default={})
    recipe = models.CharField(default="", blank=True)
    model = models.CharField(default="", blank=True)
    prompt_version = models.CharField(default="", blank=True)
    step_ids = ArrayField(models.UUIDField(), default=list)
    result = models.JSONField(default=dict)
    unserved = models.JSONField(default=list)
    repairs = models.JSONField(default=list)
    total_estimated_cost = models.DecimalField(max_digits=12, decimal_places=6)
    total_estimated_time = models.FloatField()
    sum_estimated_time = models.FloatField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        """One row per version."""

        db_table = "plans"
        ordering = ["task", "version"]
        constraints = [
            models.UniqueConstraint(name="plans_version", fields=["task", "version"])
        ]

    def __str__(self) -> str:
        """Show the version and where the plan came from."""
        return f"version {self.version} ({self.source})"


class Step(models.Model):
    """One item of work: making the plan, a planned step, or judging.

    ``priority_rank``, ``owner_rank`` and ``owner`` are copies that let one index
    decide what is claimed next. Only ``turn.py`` writes a row that exists; retention
    empties the output of ended tasks' steps.
    """

    class Kind(models.TextChoices):
        """What running it means."""

        PLAN = "plan"
        WORK = "work"
        JUDGE = "judge"

    class Status(models.TextChoices):
        """Where it is, in the order lived."""

        WAITING = "waiting"  # for the steps it depends on
        READY = "ready"  # to be claimed once run_after has passed
        RUNNING = "running"  # a worker holds the claim
        DONE = "done"  # its output is recorded
        FAILED = "failed"  # for a reason that a retry does not mend
        DEAD = "dead"  # used up its attempts
        SKIPPED = "skipped"  # a step it depends on failed, or it was only planned
        CANCELLED = "cancelled"  # the task ended before it did
        SUPERSEDED = "superseded"  # a later plan version does without it

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(
        Task,
        on_delete=models.CASCADE,
        related_name="steps",
        db_index=False,
    )
    owner = models.ForeignKey(
        Owner, on_delete=models.PROTECT, related_name="+", db_index=False
    )
    step_id = models.CharField(max_length=64)
    kind = models.CharField(choices=Kind)
    description = models.CharField(default="")
    arm = models.CharField()
    capability = models.CharField()
    depends_on = ArrayField(models.CharField(max_length=64), default=list)
    input = models.JSONField(default=dict)
    criteria = ArrayField(models.IntegerField(), default=list)
    estimated_cost = models.DecimalField(max_digits=12, decimal_places=6, default=0)
    estimated_time = models.FloatField(default=0.0)
    estimated_time_p90 = models.FloatField(default=0.0, db_default=0.0)
    status = models.CharField(choices=Status, default=Status.WAITING)
    queue = models.CharField(default="default", db_default="default")
    # What a worker must understand to run it; see order.STEP_VERSION.
    version = models.SmallIntegerField(default=1, db_default=1)
    priority_rank = models.SmallIntegerField()
    owner_rank = models.IntegerField(default=0, db_default=0)
    run_after = models.DateTimeField(db_default=Now())
    ready_at = models.DateTimeField(null=True)
    claim_id = models.UUIDField(null=True)
    lease_until = models.DateTimeField(null=True)
    request_id = models.UUIDField(null=True)
    worker = models.CharField(default="", db_default="", blank=True)
    attempt_count = models.IntegerField(default=0, db_default=0)
    envelope_nano = models.BigIntegerField(default=0, db_default=0)
    envelope_tokens = models.BigIntegerField(default=0, db_default=0)
    output = models.JSONField(null=True)
    evidence = models.JSONField(default=list, db_default=[])
    confidence = models.FloatField(null=True)
    confidence_reason = models.CharField(default="", db_default="", blank=True)
    taint = ArrayField(models.CharField(), default=list)
    error = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    started_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        """The claim's index, the reaper's, and what the database guards."""

        db_table = "steps"
        ordering = ["task", "id"]
        indexes = [
            models.Index(
                fields=["queue", "priority_rank", "owner_rank", "id"],
                name="idx_steps_claim",
                condition=Q(status="ready"),
            ),
            models.Index(
                fields=["lease_until"],
                name="idx_steps_lease",
                condition=Q(status="running"),
            ),
            # What an owner has open, and its ready ones in the claim's order.
            models.Index(
                fields=[
                    *("owner", "status", "queue"),
                    *("priority_rank", "owner_rank", "id"),
                ],
                name="idx_steps_owner",
                condition=Q(status__in=("ready", "running")),
            ),
            # Who waits for a place at an arm; there are few or none.
            models.Index(
                fields=["arm", "priority_rank", "owner_rank", "id"],
                name="idx_steps_arm_busy",
                condition=Q(status="ready", error__code="arm_busy"),
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="steps_step_id", fields=["task", "step_id"]),
            models.CheckConstraint(
                name="steps_kind", condition=Q(kind__in=("plan", "work", "judge"))
            ),
            models.CheckConstraint(
                name="steps_status",
                condition=Q(
                    status__in=(
                        "waiting",
                        "ready",
                        "running",
                        "done",
                        "failed",
                        "dead",
                        "skipped",
                        "cancelled",
                        "superseded",
                    )
                ),
            ),
            models.CheckConstraint(
                name="steps_claim",
                condition=Q(
                    status="running", claim_id__isnull=False, lease_until__isnull=False
                )
                | (~Q(status="running") & Q(claim_id__isnull=True)),
            ),
            models.CheckConstraint(
                name="steps_envelope",
                condition=Q(envelope_nano__gte=0, envelope_tokens__gte=0),
            ),
            models.CheckConstraint(
                name="steps_confidence",
                condition=Q(confidence__isnull=True)
                | Q(confidence__gte=0, confidence__lte=1),
            ),
            models.CheckConstraint(
                name="steps_output",
                condition=~Q(status="done") | Q(output__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        """Show the step's id and what it asks for."""
        return f"{self.step_id} {self.arm}.{self.capability}"


class Attempt(models.Model):
    """One try of one step: who, when, and how it ended."""

    class Outcome(models.TextChoices):
        """How a try ended."""

        RUNNING = "running"
        DONE = "done"
        RETRY = "retry"  # failed for a reason that a retry may mend
        FAILED = "failed"
        LOST = "lost"  # its lease ran out: the worker is gone or hung
        RELEASED = "released"  # given back unstarted
        CANCELLED = "cancelled"  # the task ended meanwhile

    id = models.BigAutoField(primary_key=True)
    step = models.ForeignKey(
        Step,
        on_delete=models.CASCADE,
        related_name="attempts",
        db_index=False,
    )
    number = models.IntegerField()
    claim_id = models.UUIDField()
    request_id = models.UUIDField()
    instance = models.CharField(default="", db_default="", blank=True)
    reason = models.CharField(default="", db_default="", blank=True)
    worker = models.CharField(default="", db_default="", blank=True)
    # From the step's being due until this attempt began.
    queued_s = models.FloatField(null=True)
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True)
    outcome = models.CharField(choices=Outcome, default=Outcome.RUNNING)
    error_code = models.CharField(default="", db_default="", blank=True)
    error_message = models.CharField(default="", db_default="", blank=True)
    log = models.TextField(default="", db_default="", blank=True)
    # When its worker came back after the claim was lost: the record was refused.
    late_at = models.DateTimeField(null=True)

    class Meta:
        """Newest last."""

        db_table = "attempts"
        ordering = ["step", "id"]
        indexes = [models.Index(fields=["step"], name="idx_attempts_step")]
        constraints = [
            models.UniqueConstraint(name="attempts_claim", fields=["claim_id"])
        ]

    def __str__(self) -> str:
        """Show the number and the outcome."""
        return f"attempt {self.number}: {self.outcome}"
