"""The registry's rows, and what in-process arms did under a request id."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from octollm.ids import new_id


class RegisteredArm(models.Model):
    """An arm's catalogue entry as the workers that run or reach it wrote it down."""

    name = models.CharField(primary_key=True, max_length=64)
    version = models.CharField()
    description = models.CharField(default="")
    capabilities = models.JSONField(default=list)
    sees = models.JSONField(default=list)
    is_repeatable = models.BooleanField(default=False)
    has_store = models.BooleanField(default=True, db_default=True)
    synonyms = models.JSONField(default=list, db_default=[])
    queue = models.CharField(default="default")
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Name the table."""

        db_table = "arms"
        ordering = ["name"]
        verbose_name = "arm"

    def __str__(self) -> str:
        """Show name and version."""
        return f"{self.name} {self.version}"


class ArmInstance(models.Model):
    """One place where an arm runs: inside the workers, or at an address."""

    class State(models.TextChoices):
        """What the last check said."""

        STARTING = "starting"
        HEALTHY = "healthy"
        DOWN = "down"

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    arm = models.ForeignKey(
        RegisteredArm, on_delete=models.CASCADE, related_name="instances"
    )
    location = models.CharField(default="in-process")
    state = models.CharField(choices=State, default=State.STARTING)
    detail = models.CharField(default="", blank=True)
    checked_at = models.DateTimeField(null=True)

    class Meta:
        """One row per arm and place."""

        db_table = "arm_instances"
        ordering = ["arm", "location"]
        constraints = [
            models.UniqueConstraint(
                name="arm_instances_place", fields=["arm", "location"]
            ),
            models.CheckConstraint(
                name="arm_instances_state",
                condition=Q(state__in=("starting", "healthy", "down")),
            ),
        ]

    def __str__(self) -> str:
        """Show where and how it is."""
        return f"{self.arm_id} {self.location}: {self.state}"


class Execution(models.Model):
    """What an in-process arm did under a request id; the reply is concealed."""

    request_id = models.UUIDField(primary_key=True)
    scope_id = models.UUIDField()
    arm = models.CharField()
    reply = models.JSONField()
    taint = models.JSONField(default=list)
    finished_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Name the table."""

        db_table = "executions"
        indexes = [
            models.Index(fields=["scope_id"], name="idx_executions_scope"),
            models.Index(fields=["finished_at"], name="idx_executions_age"),
        ]

    def __str__(self) -> str:
        """Show the arm and the request."""
        return f"{self.arm} {self.request_id}"
