"""Who said yes or no to which plan."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from octollm.ids import new_id
from tasks_app.models.tasks import Task


class Approval(models.Model):
    """One question to a person: may this plan version run?

    Attributes:
        digest: HMAC of the plan's steps with their inputs, and of its grants; an
            answer to another one is refused.
        reason: one of ``Reason``.
        beyond: what it wants beyond the policy or the task's grants, pairs of kind
            and name.
        estimated_cost: USD of the steps that are still to run, judging included.
        decided_by: the owner's name, or the account of an operator.
    """

    class Reason(models.TextChoices):
        """Why a person is asked; the first that holds."""

        GRANTS = "grants"  # it wants more than the operator's policy allows
        TASK_GRANTS = "task_grants"  # more than the task's first plan had
        ASKED = "asked"  # the caller wants to see every plan
        ABOVE = "above"  # the estimate exceeds the caller's amount

    class State(models.TextChoices):
        """How the question stands."""

        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"  # nobody answered in time
        REPLACED = "replaced"  # an edited plan took its place
        WITHDRAWN = "withdrawn"  # the task ended first

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    task = models.ForeignKey(
        Task, on_delete=models.CASCADE, related_name="approvals", db_index=False
    )
    plan_version = models.IntegerField()
    digest = models.CharField(max_length=64)
    state = models.CharField(choices=State, default=State.PENDING)
    reason = models.CharField()
    beyond = models.JSONField(default=list)
    estimated_cost = models.DecimalField(max_digits=12, decimal_places=6)
    comment = models.CharField(default="", blank=True)
    decided_by = models.CharField(default="", blank=True)
    requested_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField()
    decided_at = models.DateTimeField(null=True)

    class Meta:
        """One question per version, and the reaper's index."""

        db_table = "approvals"
        ordering = ["task", "plan_version"]
        indexes = [
            models.Index(
                fields=["expires_at"],
                name="idx_approvals_pending",
                condition=Q(state="pending"),
            )
        ]
        constraints = [
            models.UniqueConstraint(
                name="approvals_version", fields=["task", "plan_version"]
            ),
            models.CheckConstraint(
                name="approvals_state",
                condition=Q(state="pending", decided_at__isnull=True)
                | Q(
                    state__in=(
                        *("approved", "rejected", "expired"),
                        *("replaced", "withdrawn"),
                    ),
                    decided_at__isnull=False,
                ),
            ),
        ]

    def __str__(self) -> str:
        """Show the version and the answer."""
        return f"version {self.plan_version}: {self.state}"

    @property
    def needs_operator(self) -> bool:
        """Whether only an operator may say yes: a caller's yes would lift the policy."""
        return self.reason == self.Reason.GRANTS
