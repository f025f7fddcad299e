"""What operators see of arms and documents; texts hold placeholders, never values."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import OuterRef, QuerySet, Subquery
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from arms.knowledge.models import Chunk, Document
from arms.registry_models import ArmInstance, Execution, RegisteredArm
from octollm.access.models import Owner
from octollm.history import ReadOnlyAdmin, ReadOnlyInline, shown_json, shown_list

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


_COLOURS = {
    "healthy": "success",
    "down": "danger",
    "starting": "warning",
}


class RegistryAdmin(ReadOnlyAdmin):
    """Rows that processes write about themselves."""

    @display(description="State", label=_COLOURS)
    def pill(self, row: Any) -> str:
        """Show the state as a coloured label with its word."""
        return str(row.state)


@admin.register(RegisteredArm)
class RegisteredArmAdmin(RegistryAdmin):
    """The catalogue with each arm's health."""

    icon: ClassVar[str] = "precision_manufacturing"
    list_display = [
        *("name", "version", "health", "abilities", "has_store", "queue", "updated_at")
    ]
    list_filter = ["queue", "instances__state"]
    search_fields = ["name", "description"]

    def get_queryset(self, request: HttpRequest) -> QuerySet[RegisteredArm]:
        """Fetch the instances along."""
        rows: QuerySet[RegisteredArm] = super().get_queryset(request)
        return rows.prefetch_related("instances")

    @display(description="Health", label=_COLOURS)
    def health(self, arm: RegisteredArm) -> str:
        """Return healthy if an instance is, else the state of one."""
        states = {instance.state for instance in arm.instances.all()}
        best = ("healthy", "starting", "down")
        return next((state for state in best if state in states), "unknown")

    @admin.display(description="capabilities")
    def abilities(self, arm: RegisteredArm) -> str:
        """Name what the arm can do."""
        return ", ".join(str(each.get("name", "")) for each in arm.capabilities)


@admin.register(ArmInstance)
class ArmInstanceAdmin(RegistryAdmin):
    """Where arms run and what their last check said."""

    icon: ClassVar[str] = "lan"
    list_display = ["arm", "location", "pill", "detail", "checked_at"]
    list_filter = ["state", "arm"]
    list_select_related = ["arm"]


@admin.register(Execution)
class ExecutionAdmin(RegistryAdmin):
    """What in-process arms did under a request id."""

    icon: ClassVar[str] = "bolt"
    list_display = ["request_id", "arm", "marks", "finished_at"]
    list_filter = ["arm"]
    search_fields = ["=request_id", "=scope_id"]
    fields = (
        "request_id",
        "scope_id",
        "arm",
        "beginning",
        "marks",
        "finished_at",
    )
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> QuerySet[Execution]:
        """Leave the reply in the database until a page shows it."""
        rows: QuerySet[Execution] = super().get_queryset(request)
        return rows.defer("reply")

    @admin.display(description="taint")
    def marks(self, execution: Execution) -> str:
        """Name the families of suspicious text that the arm took in."""
        return shown_list(execution.taint)

    @admin.display(description="reply")
    def beginning(self, execution: Execution) -> SafeString:
        """Return the concealed reply's beginning as JSON."""
        return shown_json(execution.reply)
