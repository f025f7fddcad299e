"""What operators see of the reflex: decisions and counts, never a value."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from unfold.decorators import display

from octollm.history import ReadOnlyAdmin, shown_list
from reflex.models import Screening, VaultEntry, VaultKey

_SHOWN_FINDINGS = 20
_COLOURS = {"allow": "success", "flag": "warning", "redact": "info", "block": "danger"}


@admin.register(Screening)
class ScreeningAdmin(ReadOnlyAdmin):
    """Decisions of the reflex, newest first."""

    icon: ClassVar[str] = "shield"
    list_display = (
        "created_at",
        "checkpoint",
        "pill",
        "rules",
        "finding_count",
        "text_length",
        "duration_ms",
        "scope_id",
    )
    list_filter = ("action", "checkpoint", "created_at", "ruleset_version")
    search_fields = ("scope_id__exact", "rule_ids__icontains")
    search_help_text = "A task's or owner's id, or a part of a rule's id"
    exclude = ("findings", "rule_ids")
    readonly_fields = ("rules", "shown_findings")

    @display(description="action", ordering="action", label=_COLOURS)
    def pill(self, screening: Screening) -> str:
        """Show the action as a coloured label with its word."""
        return str(screening.action)

    @admin.display(description="rules")
    def rules(self, screening: Screening) -> str:
        """Join the ids of the rules that found something."""
        return shown_list(screening.rule_ids)

    @admin.display(description="findings")
    def shown_findings(self, screening: Screening) -> str:
        """Say of the first findings what they are and where."""
        lines = [
            f"{f['rule_id']} ({f['severity']}) in {f['path'] or 'the text'}, "
            f"{f['start']} to {f['end']}"
            for f in screening.findings[:_SHOWN_FINDINGS]
        ]
        rest = screening.finding_count - len(lines)
        return "\n".join([*lines, f"and {rest} more"] if rest else lines) or "-"


@admin.register(VaultKey)
class VaultKeyAdmin(ReadOnlyAdmin):
    """Which scopes hold concealed values, and how many."""

    icon: ClassVar[str] = "lock"
    list_display = ("scope_id", "entries", "types", "created_at")
    search_fields = ("scope_id__exact",)
    search_help_text = "A task's or owner's id"
    fields = ("scope_id", "entries", "types", "created_at")
    readonly_fields = ("entries", "types")

    def get_queryset(self, request: HttpRequest) -> QuerySet[VaultKey]:
        """Count the entries of each scope in the same query."""
        counted = (
            VaultEntry.objects.filter(scope_id=OuterRef("scope_id"))
            .values("scope_id")
            .annotate(count=Count("id"))
            .values("count")
        )
        count = Coalesce(Subquery(counted, output_field=IntegerField()), 0)
        keys: QuerySet[VaultKey] = super().get_queryset(request)
        return keys.annotate(entry_count=count)

    @admin.display(description="values", ordering="entry_count")
    def entries(self, key: VaultKey) -> int:
        """Show how many values the scope holds."""
        return int(getattr(key, "entry_count", 0))

    @admin.display(description="by type")
    def types(self, key: VaultKey) -> str:
        """Show how many placeholders of each type were given out."""
        counters = sorted(key.counters.items())
        return ", ".join(f"{name}: {count}" for name, count in counters) or "-"
