"""The page of what was deleted: ids, times and amounts."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from unfold.decorators import display

from tasks_app.admin.pages import StatusAdmin, shown_dollars
from tasks_app.models import Tombstone


@admin.register(Tombstone)
class TombstoneAdmin(StatusAdmin):
    """What is left of tasks that were deleted."""

    icon: ClassVar[str] = "delete_forever"
    list_display = ("task_id", "owner", "pill", "spent", "deleted_by", "deleted_at")
    list_select_related = ("owner",)
    list_filter = ("owner", "deleted_at")
    search_fields = ("task_id", "deleted_by")
    fields = (
        ("task_id", "owner"),
        ("pill", "run"),
        ("created_at", "finished_at"),
        ("deleted_at", "deleted_by"),
        ("spent", "spent_tokens"),
        ("seq", "mac"),
        ("genuine", "signature"),
    )

    @display(description="Spent", ordering="spent_nano")
    def spent(self, tombstone: Tombstone) -> str:
        """Show the dollars spent."""
        return shown_dollars(tombstone.spent_nano)

    @display(description="Signature holds", boolean=True)
    def genuine(self, tombstone: Tombstone) -> bool:
        """Say whether the row is as it was signed."""
        return tombstone.is_genuine
