"""Documents that owners ingested, concealed, and the passages they are cut into."""

from __future__ import annotations

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVector, SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from octollm.ids import new_id


class Document(models.Model):
    """One text of an owner; personal values in it are placeholders.

    ``owner_scope`` is the owner's id as an opaque scope: the vault keeps the
    concealed values under it. ``content_mac`` is a keyed fingerprint of the text as
    it came, so that the same content in a collection is stored once.
    """

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    owner_scope = models.UUIDField()
    collection = models.CharField(max_length=300)
    title = models.CharField(max_length=1_000)
    metadata = models.JSONField(default=dict)
    content_mac = models.CharField(max_length=64)
    text = models.TextField()
    length = models.IntegerField(help_text="Characters of the concealed text.")
    taint = models.JSONField(
        default=list, help_text="Families of suspicious text that the reflex found."
    )
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        """Each content once per owner and collection."""

        db_table = "documents"
        ordering = ["-created_at", "-id"]
        indexes = [
            models.Index(
                fields=["owner_scope", "-created_at", "-id"],
                name="idx_documents_owner_newest",
            ),
        ]
        constraints = [
            models.UniqueConstraint(
                name="documents_content_once",
                fields=["owner_scope", "collection", "content_mac"],
            ),
            models.CheckConstraint(name="documents_length", condition=Q(length__gt=0)),
        ]

    def __str__(self) -> str:
        """Show where it is and what it is called."""
        return f"{self.collection}: {self.title[:60]}"


class Chunk(models.Model):
    """A passage: characters ``start`` to ``end`` of its document's text.

    ``heading`` repeats collection and title, because the database can compute
    ``search`` only from columns of the same row. Its weight is A, the text's is B.
    """

    document = models.ForeignKey(
        Document,
        on_delete=models.CASCADE,
        related_name="chunks",
        db_index=False,  # chunks_number starts with it
        db_constraint=False,  # the migration adds it with ON DELETE CASCADE
    )
    number = models.IntegerField()
    start = models.IntegerField()
    end = models.IntegerField()
    heading = models.TextField()
    text = models.TextField()
    search = models.GeneratedField(
        expression=SearchVector("heading", weight="A", config="english")
        + SearchVector("text", weight="B", config="english"),
        output_field=SearchVectorField(),
        db_persist=True,
    )

    class Meta:
        """Passages are numbered from 0 and found by their words."""

        db_table = "chunks"
        ordering = ["document", "number"]
        indexes = [GinIndex(fields=["search"], name="idx_chunks_search")]
        constraints = [
            models.UniqueConstraint(
                name="chunks_number", fields=["document", "number"]
            ),
            models.CheckConstraint(
                name="chunks_span", condition=Q(start__gte=0, end__gt=F("start"))
            ),
        ]

    def __str__(self) -> str:
        """Show which passage it is."""
        return f"{self.number}: {self.text[:60]}"
