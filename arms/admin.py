"""What operators see of documents; they hold placeholders, never values."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin, TabularInline

from arms.knowledge.models import Chunk, Document

_SHOWN_CHARACTERS = 2_000


class ReadOnlyAdmin(ModelAdmin):
    """Documents come in through the reflex, so nobody writes them here."""

    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes; viewing stays allowed."""
        return False


class ChunkInline(TabularInline):
    """The passages of a document."""

    model = Chunk
    fields = ("number", "start", "end", "text")
    readonly_fields = fields
    extra = 0
    tab = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds here."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes; viewing stays allowed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Passages go with their document."""
        return False


@admin.register(Document)
class DocumentAdmin(ReadOnlyAdmin):
    """Documents by collection; deleting one deletes its passages."""

    list_display = [
        "title",
        "collection",
        "length",
        "taint",
        "owner_scope",
        "created_at",
    ]
    list_filter = ["collection", "created_at"]
    search_fields = ["title", "collection", "=id", "=owner_scope"]
    date_hierarchy = "created_at"
    fields = (
        "id",
        "owner_scope",
        "collection",
        "title",
        "metadata",
        "beginning",
        "length",
        "taint",
        "created_at",
    )
    readonly_fields = fields
    inlines = [ChunkInline]

    def get_queryset(self, request: HttpRequest) -> QuerySet[Document]:
        """Leave the long text in the database until a page shows it."""
        rows: QuerySet[Document] = super().get_queryset(request)
        return rows.defer("text")

    @admin.display(description="text")
    def beginning(self, document: Document) -> str:
        """Return the text's beginning."""
        cut = document.text[:_SHOWN_CHARACTERS]
        return cut + ("…" if len(document.text) > len(cut) else "")


@admin.register(Chunk)
class ChunkAdmin(ReadOnlyAdmin):
    """Passages across documents, found by their words."""

    list_display = ["document", "number", "start", "end", "beginning"]
    list_select_related = ["document"]
    search_fields = ["text", "=document__id"]
    fields = ["document", "number", "start", "end", "heading", "text"]

    @admin.display(description="text")
    def beginning(self, chunk: Chunk) -> str:
        """Return the passage's first words."""
        return chunk.text[:100]
