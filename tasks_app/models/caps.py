"""What each owner's tasks reserve and spend of the owner's monthly cap."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from octollm.access.models import Owner


class OwnerMonth(models.Model):
    """One month of an owner who has a cap; only ``caps.py`` writes it.

    Attributes:
        month: its first day, UTC. A task counts in the month it was submitted in.
        reserved_nano: whole budgets of open tasks, and what calls of ended tasks
            still hold.
        spent_nano: what ended tasks spent.
    """

    id = models.BigAutoField(primary_key=True)
    owner = models.ForeignKey(
        Owner, on_delete=models.CASCADE, related_name="+", db_index=False
    )
    month = models.DateField()
    reserved_nano = models.BigIntegerField(default=0, db_default=0)
    spent_nano = models.BigIntegerField(default=0, db_default=0)

    class Meta:
        """One row per owner and month."""

        db_table = "owner_months"
        ordering = ["-month", "owner"]
        verbose_name = "owner's month"
        constraints = [
            models.UniqueConstraint(
                name="owner_months_once", fields=["owner", "month"]
            ),
            models.CheckConstraint(
                name="owner_months_amounts",
                condition=Q(reserved_nano__gte=0, spent_nano__gte=0),
            ),
        ]

    def __str__(self) -> str:
        """Show the month."""
        return f"{self.month:%Y-%m}"
