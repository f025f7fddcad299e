"""Who leads, which workers there are, whom to leave alone, how many at once, and stops."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class Leader(models.Model):
    """A duty that one process at a time carries out, such as reaping.

    Taken and kept by a conditional UPDATE; advisory locks would be lost when
    Django closes a connection or a pooler hands it on.
    """

    name = models.CharField(primary_key=True, max_length=50)
    holder = models.CharField(max_length=100)
    until = models.DateTimeField()

    class Meta:
        """Name the table."""

        app_label = "octollm"
        db_table = "leaders"

    def __str__(self) -> str:
        """Show the duty and who has it."""
        return f"{self.name}: {self.holder}"


class Breaker(models.Model):
    """Whether something outside may be asked: a model provider or an arm instance.

    Written on failure and on change only, by conditional UPDATE; no row is a closed
    breaker. ``retry_at`` is the other side's own wish, such as a 429's Retry-After,
    and holds whatever the state.
    """

    class State(models.TextChoices):
        """What callers may do."""

        CLOSED = "closed"  # ask
        OPEN = "open"  # do not ask until open_until
        HALF_OPEN = "half_open"  # one caller asks until open_until, to find out

    name = models.CharField(primary_key=True, max_length=200)
    state = models.CharField(choices=State, default=State.CLOSED)
    failures = models.IntegerField(default=0)
    window_until = models.DateTimeField(null=True, blank=True)
    open_until = models.DateTimeField(null=True, blank=True)
    retry_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(db_default=Now())

    class Meta:
        """Name the table, and what the database guards."""

        app_label = "octollm"
        db_table = "breakers"
        ordering = ["name"]
        constraints = [
            models.CheckConstraint(
                name="breakers_state",
                condition=models.Q(state="closed")
                | models.Q(state__in=("open", "half_open"), open_until__isnull=False),
            ),
            models.CheckConstraint(
                name="breakers_failures", condition=models.Q(failures__gte=0)
            ),
        ]

    def __str__(self) -> str:
        """Show what it guards and how it stands."""
        return f"{self.name}: {self.state}"


class Worker(models.Model):
    """A worker process that says it is alive by its heartbeat."""

    id = models.CharField(primary_key=True, max_length=100)
    hostname = models.CharField(max_length=255)
    pid = models.IntegerField()
    queues = models.JSONField(default=list)
    threads = models.IntegerField(default=0)
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())
    stopping_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Name the table and the order of the list."""

        app_label = "octollm"
        db_table = "workers"
        ordering = ["-heartbeat_at"]

    def __str__(self) -> str:
        """Show where it runs."""
        return f"{self.hostname}:{self.pid}"


class Slot(models.Model):
    """One place of a scope whose users are limited; see ``resilience/slots.py``.

    A scope's limit is how many rows it has; one without rows has no limit.
    """

    scope = models.CharField(max_length=200)
    n = models.IntegerField()
    # Whatever ends by itself and can be asked whether it lives: the claim on a step.
    holder = models.UUIDField(null=True, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        """Name the table, its indexes, and what the database guards."""

        app_label = "octollm"
        db_table = "slots"
        ordering = ["scope", "n"]
        indexes = [
            models.Index(fields=["holder"], name="idx_slots_holder"),
            models.Index(
                fields=["scope", "n"],
                name="idx_slots_free",
                condition=Q(holder__isnull=True),
            ),
        ]
        constraints = [
            models.UniqueConstraint(name="slots_scope_n", fields=["scope", "n"]),
            models.CheckConstraint(name="slots_n", condition=Q(n__gte=1)),
            models.CheckConstraint(
                name="slots_taken",
                condition=Q(holder__isnull=True, taken_at__isnull=True)
                | Q(holder__isnull=False, taken_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        """Show which place of which scope it is."""
        return f"{self.scope} {self.n}"


class Switch(models.Model):
    """A time in which an operator had something stopped; see ``resilience/switches.py``.

    At most one row of a name stands; the ended ones say who stopped what, and why.

    Attributes:
        name: ``maintenance``, or ``owner:`` and an owner's id.
        is_now: what ran was given back, too.
    """

    name = models.CharField(max_length=200)
    since = models.DateTimeField(db_default=Now())
    by = models.CharField(max_length=200)
    reason = models.CharField(max_length=500, default="", db_default="", blank=True)
    is_now = models.BooleanField(default=False, db_default=False)
    ended_at = models.DateTimeField(null=True, blank=True)
    ended_by = models.CharField(max_length=200, default="", db_default="", blank=True)

    class Meta:
        """Name the table, the order of the list, and what the database guards."""

        app_label = "octollm"
        db_table = "switches"
        ordering = ["-since", "-id"]
        verbose_name_plural = "switches"
        constraints = [
            models.UniqueConstraint(
                name="switches_standing",
                fields=["name"],
                condition=Q(ended_at__isnull=True),
            )
        ]

    def __str__(self) -> str:
        """Show what is stopped, or was."""
        return f"{self.name} {'ended' if self.ended_at else 'stands'}"
