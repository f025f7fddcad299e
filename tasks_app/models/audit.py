"""What the audit keeps beyond the events: signed rows that stand for what is gone."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.contrib.postgres.fields import ArrayField
from django.db import models

from octollm.access.models import Owner
from octollm.types import JSONValue
from reflex.fingerprints import fingerprint
from tasks_app.models.tasks import Task


class SignedRow(models.Model):
    """A row that carries an HMAC over itself.

    ``signed_fields`` are named one by one: a column that comes later must not make
    the signatures of older rows wrong.
    """

    purpose: ClassVar[str]
    signed_fields: ClassVar[tuple[str, ...]]

    signature = models.CharField(max_length=64, editable=False)

    class Meta:
        """A part of other models."""

        abstract = True

    def sign(self) -> None:
        """Set the signature to what the columns are now."""
        self.signature = self._mac()

    @property
    def is_genuine(self) -> bool:
        """Whether somebody with the key wrote the row as it stands."""
        return hmac.compare_digest(self._mac(), self.signature)

    def _mac(self) -> str:
        values = [_plain(getattr(self, name)) for name in self.signed_fields]
        return fingerprint(values, purpose=self.purpose)


def _plain(value: Any) -> JSONValue:
    """Return a column's value as JSON, the same before and after it was stored."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="microseconds")
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, UUID) else value


class EventCheckpoint(SignedRow):
    """Where a task's chain goes on since retention removed its older events.

    Attributes:
        seq: number of the last event removed, and so how many there were.
        mac: of that event.
        status: of the task at that moment.
    """

    purpose = "checkpoint"
    signed_fields = ("task_id", "seq", "mac", "status", "at")

    # The migration adds a constraint that cascades in the database.
    task = models.OneToOneField(
        Task,
        on_delete=models.CASCADE,
        primary_key=True,
        related_name="checkpoint",
        db_constraint=False,
    )
    seq = models.IntegerField()
    mac = models.CharField(max_length=64)
    status = models.CharField()
    at = models.DateTimeField()

    class Meta:
        """Name the table."""

        db_table = "event_checkpoints"

    def __str__(self) -> str:
        """Show up to where events are gone."""
        return f"up to event {self.seq}"


class Tombstone(SignedRow):
    """What is left of a task that was deleted: ids, times and amounts, no text.

    Attributes:
        deleted_by: an account's name or the prefix of an API key.
        seq: number of the last event there was.
        mac: of that event.
        spent_nano: nano-dollars; calls whose reply was still out count at worst case.
        spent_tokens: likewise.
    """

    purpose = "tombstone"
    signed_fields = (
        *("task_id", "owner_id", "status", "run", "created_at", "finished_at"),
        *("deleted_at", "deleted_by", "seq", "mac", "spent_nano", "spent_tokens"),
    )

    task_id = models.UUIDField(primary_key=True, editable=False)
    owner = models.ForeignKey(Owner, on_delete=models.PROTECT, related_name="+")
    status = models.CharField()
    run = models.IntegerField()
    created_at = models.DateTimeField()
    finished_at = models.DateTimeField()
    deleted_at = models.DateTimeField()
    deleted_by = models.CharField()
    seq = models.IntegerField()
    mac = models.CharField(max_length=64)
    spent_nano = models.BigIntegerField()
    spent_tokens = models.BigIntegerField()

    class Meta:
        """Name the table and index what seals and lists go by."""

        db_table = "tombstones"
        ordering = ["-deleted_at"]
        indexes = [models.Index(fields=["deleted_at"], name="idx_tombstones_deleted")]

    def __str__(self) -> str:
        """Show whose place it holds."""
        return str(self.task_id)


class Seal(SignedRow):
    """What tasks there were: all that were accepted, ended or deleted in a time.

    Seals are numbered from 1 without gaps, and each signs the one before, so that a
    task whose rows are gone is still named here.

    Attributes:
        previous: the signature of the seal before; empty for the first.
        from_at: what happened later than this moment,
        until_at: up to this one, is in it.
        task_ids: each once.
        seqs: number of each task's last event when it was sealed, in their order.
        heads: MACs of these events, in their order.
    """

    purpose = "seal"
    signed_fields = (
        *("number", "previous", "from_at", "until_at", "task_ids", "seqs", "heads"),
    )

    number = models.BigIntegerField(primary_key=True)
    previous = models.CharField(max_length=64, blank=True)
    from_at = models.DateTimeField()
    until_at = models.DateTimeField()
    task_ids = ArrayField(models.UUIDField())
    seqs = ArrayField(models.IntegerField())
    heads = ArrayField(models.CharField(max_length=64))

    class Meta:
        """Name the table."""

        db_table = "audit_seals"
        ordering = ["number"]

    def __str__(self) -> str:
        """Show the number."""
        return f"seal {self.number}"


class RetentionCursor(models.Model):
    """How far retention has come: tasks that ended up to here are dealt with."""

    part = models.CharField(primary_key=True)
    finished_at = models.DateTimeField()
    task_id = models.UUIDField()

    class Meta:
        """Name the table."""

        db_table = "retention_cursors"

    def __str__(self) -> str:
        """Show what it is about."""
        return self.part
