"""The pages of what arms did and how they were; texts hold placeholders."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from arms.registry_models import Execution, HealthCheck
from octollm.history import ReadOnlyAdmin, shown_json, shown_list

_OUTCOMES = {"well": "success", "unwell": "danger"}


@admin.register(Execution)
class ExecutionAdmin(ReadOnlyAdmin):
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


@admin.register(HealthCheck)
class HealthCheckAdmin(ReadOnlyAdmin):
    """What probes, self-checks and failed calls said, the newest first."""

    icon: ClassVar[str] = "ecg_heart"
    list_display = ["at", "where", "outcome", "source", "latency_ms", "detail"]
    list_select_related = ["instance"]
    list_filter = ["is_healthy", "source", "instance__arm"]
    search_fields = ["detail", "instance__location", "=instance__id"]

    @display(description="Instance", ordering="instance__location")
    def where(self, check: HealthCheck) -> str:
        """Name the instance; how it is now is another matter."""
        return f"{check.instance.arm_id} {check.instance.location}"

    @display(description="Outcome", ordering="is_healthy", label=_OUTCOMES)
    def outcome(self, check: HealthCheck) -> str:
        """Show how it was as a coloured label with its word."""
        return "well" if check.is_healthy else "unwell"
