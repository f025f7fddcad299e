"""The pages of documents; their texts hold placeholders, never values."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest

from arms.knowledge.models import Chunk, Document
from octollm.access.models import Owner
from octollm.history import ReadOnlyAdmin, ReadOnlyInline, shown_list

_SHOWN_CHARACTERS = 2_000


class ChunkInline(ReadOnlyInline):
    """The passages of a document."""

    model = Chunk
    fields = ("number", "start", "end", "text")
    readonly_fields = fields


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    """Documents by collection; deleting one deletes its passages."""

    icon: ClassVar[str] = "description"
    list_display = [
        "title",
        "collection",
        "length",
        "marks",
        "owner",
        "created_at",
    ]
    list_filter = ["collection", "created_at"]
    search_fields = ["title", "collection", "=id", "=owner_scope"]
    date_hierarchy = "created_at"
    fields = (
        "id",
        "owner",
        "owner_scope",
        "collection",
        "title",
        "metadata",
        "beginning",
        "length",
        "marks",
        "created_at",
    )
    readonly_fields = fields
    inlines = [ChunkInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        """Leave the long text in the database until a page shows it; add the owner."""
        owner = Owner.objects.filter(pk=OuterRef("owner_scope")).values("name")
        rows: QuerySet[Document] = super().get_queryset(request)
        return rows.defer("text").annotate(owner_name=Subquery(owner))

    @admin.display(description="owner", ordering="owner_name")
    def owner(self, document: Any) -> str:
        """Name the owner."""
        return str(document.owner_name or "-")

    @admin.display(description="taint")
    def marks(self, document: Document) -> str:
        """Name the families of suspicious text that the reflex found."""
        return shown_list(document.taint)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who has the permission may delete; nobody writes."""
        return request.user.has_perm("arms.delete_document")

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Let passages go with their document, though none goes alone."""
        found, counts, needed, protected = super().get_deleted_objects(objs, request)
        return found, counts, needed - {Chunk._meta.verbose_name}, protected

    @admin.display(description="text")
    def beginning(self, document: Document) -> str:
        """Return the text's beginning."""
        cut = document.text[:_SHOWN_CHARACTERS]
        return cut + ("…" if len(document.text) > len(cut) else "")


@admin.register(Chunk)
class ChunkAdmin(ReadOnlyAdmin):
    """Passages across documents, found by their words."""

    icon: ClassVar[str] = "segment"
    list_display = ["document", "number", "start", "end", "beginning"]
    list_select_related = ["document"]
    search_fields = ["text", "=document__id"]
    fields = ["document", "number", "start", "end", "heading", "text"]

    @admin.display(description="text")
    def beginning(self, chunk: Chunk) -> str:
        """Return the passage's first words."""
        return chunk.text[:100]
