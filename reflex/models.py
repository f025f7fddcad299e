"""What the reflex keeps: its decisions, and the values it concealed.

Rows hang on a ``scope_id``: a task's id, or an owner's id for documents. The
reflex knows neither tasks nor owners, so it is an opaque UUID here.
"""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from octollm.ids import new_id


class Screening(models.Model):
    """One pass of the reflex over a document; holds no value.

    ``findings`` is a list of objects: rule_id, family, type, severity, path,
    start, end, excerpt; at most ``reflex.screening.MAX_STORED_FINDINGS`` of them,
    while ``finding_count`` counts all. Of the text there is nothing but the excerpts:
    the words of an attack and a few around it, values concealed, sealed. ``reviews`` maps the
    id of a rule to what a person said of its findings here, one of ``Review``.
    """

    class Checkpoint(models.TextChoices):
        """Where on its way the text was screened."""

        REQUEST = "request"  # what a caller submits
        DOCUMENT = "document"  # what is ingested as knowledge
        TOOL_OUTPUT = "tool_output"  # what an arm or tool gave back
        MODEL_OUTPUT = "model_output"  # what a model wrote

    class Action(models.TextChoices):
        """What was decided, from mild to strict."""

        ALLOW = "allow"  # nothing found that matters
        FLAG = "flag"  # noted; the text is tainted
        REDACT = "redact"  # values were concealed
        BLOCK = "block"  # the text was refused

    class Review(models.TextChoices):
        """What a person says of a rule's findings."""

        RIGHT = "right"  # it found what it looks for
        FALSE = "false"  # it found something harmless

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    scope_id = models.UUIDField()
    checkpoint = models.CharField(max_length=20, choices=Checkpoint.choices)
    action = models.CharField(max_length=10, choices=Action.choices)
    rule_ids = models.JSONField(default=list)
    findings = models.JSONField(default=list)
    finding_count = models.PositiveIntegerField(default=0, db_default=0)
    ruleset_version = models.CharField(max_length=40)
    text_length = models.PositiveIntegerField()
    duration_ms = models.FloatField()
    created_at = models.DateTimeField(db_default=Now(), editable=False)
    reviews = models.JSONField(
        default=dict, db_default=models.Value({}, models.JSONField()), editable=False
    )

    class Meta:
        """Name the table and index what operators filter by."""

        db_table = "screenings"
        ordering = ["-created_at"]
        indexes = [
            models.Index(fields=["scope_id", "created_at"], name="screenings_scope"),
            models.Index(fields=["action", "created_at"], name="screenings_action"),
            models.Index(fields=["created_at"], name="screenings_age"),
        ]

    def __str__(self) -> str:
        """Show what was decided where."""
        return f"{self.checkpoint}: {self.action}"


class RuleCount(models.Model):
    """How often a rule found something, and how often rightly; a view of screenings.

    Counts screenings, not findings, as far back as they are kept.
    """

    rule_id = models.CharField(primary_key=True, max_length=100)
    screenings = models.PositiveIntegerField()
    blocked = models.PositiveIntegerField()
    flagged = models.PositiveIntegerField()
    right = models.PositiveIntegerField()
    false = models.PositiveIntegerField()
    last_at = models.DateTimeField()

    class Meta:
        """Read the view; nobody writes it."""

        managed = False
        db_table = "screening_rules"
        ordering = ["-screenings", "rule_id"]
        verbose_name = "rule"

    def __str__(self) -> str:
        """Show which rule."""
        return self.rule_id

    @property
    def precision(self) -> float | None:
        """The share of reviewed screenings in which it was right, 0.0 to 1.0."""
        reviewed = self.right + self.false
        return self.right / reviewed if reviewed else None


class VaultKey(models.Model):
    """The key of one scope, wrapped by the settings' keys; deleting it shreds.

    ``counters`` maps a type to the last number given out under this scope. The
    row is also the lock under which new placeholders are given out.
    """

    scope_id = models.UUIDField(primary_key=True, editable=False)
    wrapped_key = models.CharField(max_length=300, editable=False)
    counters = models.JSONField(default=dict, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        """Name the table."""

        db_table = "vault_keys"
        ordering = ["-created_at"]

    def __str__(self) -> str:
        """Show whose key it is."""
        return str(self.scope_id)


class VaultEntry(models.Model):
    """One concealed value under one scope.

    ``value_mac`` is a keyed fingerprint, so that the same value gets the same
    placeholder without decrypting anything.
    """

    class JSONType(models.TextChoices):
        """What the value was in its document."""

        STRING = "string"  # a text or a part of one
        INTEGER = "integer"  # a whole number
        FLOAT = "float"  # a number with a point or an exponent

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    scope_id = models.UUIDField()
    placeholder = models.CharField(max_length=50)
    type = models.CharField(max_length=32)
    ciphertext = models.TextField()
    json_type = models.CharField(max_length=10, choices=JSONType.choices)
    value_mac = models.CharField(max_length=64)

    class Meta:
        """Name the table; the database keeps placeholders and values one to one."""

        db_table = "vault_entries"
        constraints = [
            models.UniqueConstraint(
                fields=["scope_id", "placeholder"], name="vault_entries_placeholder"
            ),
            models.UniqueConstraint(
                fields=["scope_id", "type", "value_mac"], name="vault_entries_value"
            ),
        ]

    def __str__(self) -> str:
        """Show the placeholder, never the value."""
        return self.placeholder
