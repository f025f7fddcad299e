"""What operators see of the reflex: decisions and counts, never a value."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.decorators import action, display

from octollm.history import ReadOnlyAdmin, shown_list
from reflex import reviews
from reflex.excerpts import unseal
from reflex.models import RuleCount, Screening, VaultEntry, VaultKey
from reflex.rules import load_rules

_SHOWN_FINDINGS = 20
_COLOURS = {"allow": "success", "flag": "warning", "redact": "info", "block": "danger"}


class RuleFilter(admin.SimpleListFilter):
    """Screenings in which one rule found something."""

    title = "rule"
    parameter_name = "rule"

    def lookups(
        self, request: HttpRequest, model_admin: admin.ModelAdmin[Screening]
    ) -> list[tuple[str, str]]:
        """Offer the rules of this process; an address may name another."""
        return [(rule.id, rule.id) for rule in load_rules().rules]

    def queryset(
        self, request: HttpRequest, queryset: QuerySet[Screening]
    ) -> QuerySet[Screening]:
        """Keep the rows that name the rule."""
        if not self.value():
            return queryset
        return queryset.filter(rule_ids__contains=[self.value()])


@admin.register(Screening)
class ScreeningAdmin(ReadOnlyAdmin):
    """Decisions of the reflex, newest first."""

    icon: ClassVar[str] = "shield"
    list_display = (
        "created_at",
        "checkpoint",
        "pill",
        "rules",
        "excerpt",
        "review",
        "finding_count",
        "text_length",
        "duration_ms",
        "scope_id",
    )
    list_filter = ("action", "checkpoint", RuleFilter, "created_at", "ruleset_version")
    search_fields = ("scope_id__exact", "rule_ids__icontains")
    search_help_text = "A task's or owner's id, or a part of a rule's id"
    exclude = ("findings", "rule_ids")
    readonly_fields = ("rules", "review", "shown_findings")
    actions = ("mark_false", "mark_right")

    def has_review_permission(self, request: HttpRequest) -> bool:
        """Whoever may change screenings in general may say what they are worth."""
        return request.user.has_perm("reflex.change_screening")

    @action(description="Mark as false positive", permissions=["review"])  # type: ignore[operator]  # unfold names what it returns
    def mark_false(self, request: HttpRequest, rows: QuerySet[Screening]) -> None:
        """Say that what was found is harmless."""
        self._mark(request, rows, Screening.Review.FALSE)

    @action(description="Mark as right", permissions=["review"])  # type: ignore[operator]  # unfold names what it returns
    def mark_right(self, request: HttpRequest, rows: QuerySet[Screening]) -> None:
        """Say that what was found is what the rule looks for."""
        self._mark(request, rows, Screening.Review.RIGHT)

    def _mark(
        self,
        request: HttpRequest,
        rows: QuerySet[Screening],
        review: Screening.Review,
    ) -> None:
        """Mark the rule that the list is filtered by, or all of the rows' rules."""
        rule_id = request.GET.get(RuleFilter.parameter_name, "")
        ids = list(rows.values_list("pk", flat=True))
        count = reviews.mark(ids, review=review, rule_id=rule_id)
        what = f"the rule {rule_id}" if rule_id else "all rules"
        text = f"{count} marked as {review}, for {what}."
        self.message_user(request, text, messages.SUCCESS)

    @display(description="action", ordering="action", label=_COLOURS)
    def pill(self, screening: Screening) -> str:
        """Show the action as a coloured label with its word."""
        return str(screening.action)

    @admin.display(description="rules")
    def rules(self, screening: Screening) -> str:
        """Join the ids of the rules that found something."""
        return shown_list(screening.rule_ids)

    @admin.display(description="excerpt")
    def excerpt(self, screening: Screening) -> str:
        """Show the words of the first attack; those of values are not kept."""
        sealed = (f.get("excerpt", "") for f in screening.findings)
        return unseal(next(filter(None, sealed), "")) or "-"

    @admin.display(description="review")
    def review(self, screening: Screening) -> str:
        """Say what people said of the rules."""
        said = sorted(screening.reviews.items())
        return shown_list(f"{rule}: {review}" for rule, review in said)

    @admin.display(description="findings")
    def shown_findings(self, screening: Screening) -> SafeString:
        """Say of the first findings what they are and where."""
        lines = [
            f"{f['rule_id']} ({f['severity']}) in {f['path'] or 'the text'}, "
            f"{f['start']} to {f['end']}"
            + (f": {unseal(f['excerpt'])}" if f.get("excerpt") else "")
            for f in screening.findings[:_SHOWN_FINDINGS]
        ]
        rest = screening.finding_count - len(lines)
        lines = [*lines, f"and {rest} more"] if rest else lines
        return format_html_join("", "<div>{}</div>", ([line] for line in lines or "-"))


@admin.register(RuleCount)
class RuleCountAdmin(ReadOnlyAdmin):
    """How often each rule found something, and how often rightly."""

    icon: ClassVar[str] = "rule"
    list_display = (
        "rule_id",
        "family",
        "counted",
        "blocked",
        "flagged",
        "right",
        "false",
        "precision",
        "last_at",
    )
    list_display_links = None
    search_fields = ("rule_id",)
    ordering = ("-screenings", "rule_id")

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        """Whoever may see screenings may see them counted."""
        return request.user.has_perm("reflex.view_screening")

    @admin.display(description="family")
    def family(self, count: RuleCount) -> str:
        """Name the family; nothing for a rule that is not there any more."""
        families = {rule.id: rule.family for rule in load_rules().rules}
        return families.get(count.rule_id, "-")

    @admin.display(description="screenings", ordering="screenings")
    def counted(self, count: RuleCount) -> SafeString:
        """Show the number, with a link to those screenings."""
        query = urlencode({RuleFilter.parameter_name: count.rule_id})
        address = reverse("admin:reflex_screening_changelist")
        link = '<a class="text-link" href="{}?{}">{}</a>'
        return format_html(link, address, query, count.screenings)

    @admin.display(description="precision")
    def precision(self, count: RuleCount) -> str:
        """Show the share of reviewed screenings in which the rule was right."""
        share = count.precision
        if share is None:
            return "not reviewed"
        return f"{share:.0%} of {count.right + count.false}"


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
