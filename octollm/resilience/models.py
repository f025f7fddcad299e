"""Who leads, and which workers there are."""

from __future__ import annotations

from django.db import models
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
