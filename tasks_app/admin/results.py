"""The pages of results and of the verdicts on them."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from octollm.history import shown_json
from tasks_app.admin.pages import COLOURS, TaskPartAdmin
from tasks_app.models import TaskResult, Verdict


@admin.register(TaskResult)
class TaskResultAdmin(TaskPartAdmin):
    """Results."""

    icon: ClassVar[str] = "fact_check"
    list_display = ("task_link", "run", "plan_version", "confidence", "created_at")
    list_select_related = ("task",)
    list_filter = ("created_at",)
    search_fields = ("task__id",)
    ordering = ("-created_at",)
    fields = (
        "task_link",
        ("run", "plan_version"),
        "confidence",
        "created_at",
        "result_",
        "outputs_",
    )

    @display(description="Result")
    def result_(self, result: TaskResult) -> SafeString:
        """Show the result as it is stored, without the steps' outputs."""
        data = result.result_data
        return shown_json({key: data[key] for key in data if key != "outputs"})

    @display(description="Outputs of the steps")
    def outputs_(self, result: TaskResult) -> SafeString:
        """Show what each step gave."""
        return shown_json(result.result_data.get("outputs", {}))


@admin.register(Verdict)
class VerdictAdmin(TaskPartAdmin):
    """Verdicts."""

    icon: ClassVar[str] = "gavel"
    list_display = ("criterion", "verdict_", "kind", "method", "task_link", "run")
    list_select_related = ("task",)
    list_filter = ("verdict", "kind", "method")
    search_fields = ("task__id", "criterion")

    @display(description="Verdict", label=COLOURS)
    def verdict_(self, verdict: Verdict) -> str:
        """Show the verdict as a coloured label with its word."""
        return verdict.verdict
