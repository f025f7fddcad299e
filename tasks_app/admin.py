"""The operator's pages: what happened, read-only.

Texts stand as they are stored, with placeholders; nothing is revealed here.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from octollm.history import ReadOnlyAdmin, ReadOnlyInline, link_to, shown_json
from tasks_app.models import (
    Attempt,
    Charge,
    Plan,
    Step,
    Task,
    TaskEvent,
    TaskResult,
    Verdict,
)

COLOURS = {
    "completed": "success",
    "done": "success",
    "met": "success",
    "settled": "success",
    "failed": "danger",
    "dead": "danger",
    "not_met": "danger",
    "lost": "danger",
    "processing": "info",
    "running": "info",
    "held": "info",
    "ready": "info",
    "cancelled": "warning",
    "skipped": "warning",
    "retry": "warning",
    "presumed": "warning",
    "not_checked": "warning",
}


class StatusAdmin(ReadOnlyAdmin):
    """A history whose rows have a status."""

    @display(description="Status", label=COLOURS)
    def pill(self, row: Any) -> str:
        """Show the status as a coloured label with its word."""
        return str(row.status)


class StepInline(ReadOnlyInline):
    """The steps of a task."""

    model = Step
    fields = ("step_id", "kind", "arm", "capability", "status", "attempt_count")
    readonly_fields = fields


class PlanInline(ReadOnlyInline):
    """The plan versions of a task."""

    model = Plan
    fields = ("version", "source", "recipe", "model", "total_estimated_cost")
    readonly_fields = fields


class VerdictInline(ReadOnlyInline):
    """The verdicts on a task."""

    model = Verdict
    fields = ("kind", "criterion", "verdict", "evidence", "method", "run")
    readonly_fields = fields
    show_change_link = False


class ResultInline(ReadOnlyInline):
    """The results of a task."""

    model = TaskResult
    fields = ("run", "plan_version", "confidence", "created_at")
    readonly_fields = fields


class EventInline(ReadOnlyInline):
    """The events of a task."""

    model = TaskEvent
    fields = ("seq", "type", "at", "data")
    readonly_fields = fields
    show_change_link = False


class AttemptInline(ReadOnlyInline):
    """The attempts at a step."""

    model = Attempt
    fields = ("number", "outcome", "worker", "started_at", "finished_at", "error_code")
    readonly_fields = fields


class ChargeInline(ReadOnlyInline):
    """The charges of a step."""

    model = Charge
    fk_name = "step"
    fields = ("purpose", "model", "state", "settled_nano", "input_tokens")
    readonly_fields = fields


@admin.register(Task)
class TaskAdmin(StatusAdmin):
    """Tasks."""

    list_display = (
        "short_goal",
        "pill",
        "stage",
        "priority",
        "owner",
        "steps_done",
        "spent",
        "created_at",
        "finished_at",
    )
    list_select_related = ("owner",)
    list_filter = ("status", "stage", "priority", "owner", "created_at", "stop_reason")
    search_fields = ("id", "goal")
    date_hierarchy = "created_at"
    inlines = (
        StepInline,
        VerdictInline,
        ResultInline,
        PlanInline,
        EventInline,
    )
    fieldsets = (
        (None, {"fields": ("goal", "owner", "status", "stage", "priority", "error_")}),
        (
            "Request",
            {
                "classes": ("tab",),
                "fields": (
                    "constraints_",
                    "criteria_",
                    "context_",
                    "metadata_",
                    "assigned_arm",
                ),
            },
        ),
        (
            "Budget",
            {
                "classes": ("tab",),
                "fields": (
                    ("max_cost_usd", "spent"),
                    ("max_tokens", "spent_tokens", "held_tokens"),
                    ("max_time_seconds", "deadline_at"),
                ),
            },
        ),
        (
            "Times",
            {
                "classes": ("tab",),
                "fields": (
                    ("created_at", "started_at", "finished_at"),
                    ("run", "plan_version", "stop_reason"),
                    "event_head",
                ),
            },
        ),
    )

    @display(description="Goal", ordering="goal")
    def short_goal(self, task: Task) -> str:
        """Show the beginning of the goal."""
        return task.goal[:80]

    @display(description="Steps")
    def steps_done(self, task: Task) -> str:
        """Show how many steps are done."""
        steps = list(Step.objects.filter(task=task).values_list("status", flat=True))
        return f"{steps.count(Step.Status.DONE)} / {len(steps)}"

    @display(description="Spent", ordering="spent_nano")
    def spent(self, task: Task) -> str:
        """Show the dollars spent."""
        return f"${task.spent_usd:.6f}"

    @display(description="Error")
    def error_(self, task: Task) -> SafeString | str:
        """Show why the task failed."""
        return shown_json(task.error) if task.error else "none"

    @display(description="Constraints")
    def constraints_(self, task: Task) -> SafeString:
        """Show the constraints."""
        return shown_json(task.constraints)

    @display(description="Acceptance criteria")
    def criteria_(self, task: Task) -> SafeString:
        """Show the criteria."""
        return shown_json(task.acceptance_criteria)

    @display(description="Context")
    def context_(self, task: Task) -> SafeString:
        """Show the context."""
        return shown_json(task.context)

    @display(description="Metadata")
    def metadata_(self, task: Task) -> SafeString:
        """Show the metadata."""
        return shown_json(task.task_metadata)


@admin.register(Plan)
class PlanAdmin(ReadOnlyAdmin):
    """Plan versions with their steps."""

    list_display = ("task_link", "version", "source", "recipe", "model", "created_at")
    list_select_related = ("task",)
    list_filter = ("source", "recipe", "model", "created_at")
    search_fields = ("task__id",)
    fields = (
        ("task_link", "version"),
        ("source", "recipe", "model", "prompt_version"),
        ("total_estimated_cost", "total_estimated_time", "sum_estimated_time"),
        "steps_",
        "result_",
        "repairs_",
        "unserved_",
    )

    @display(description="Task")
    def task_link(self, plan: Plan) -> SafeString:
        """Link to the task."""
        return link_to(plan.task)

    @display(description="Steps")
    def steps_(self, plan: Plan) -> SafeString:
        """Show the steps in their order."""
        by_id = Step.objects.in_bulk(plan.step_ids)
        ordered = [by_id[pk] for pk in plan.step_ids if pk in by_id]
        return shown_json(
            [
                {
                    "step_id": step.step_id,
                    "arm": f"{step.arm}.{step.capability}",
                    "description": step.description,
                    "depends_on": step.depends_on,
                    "status": step.status,
                }
                for step in ordered
            ]
        )

    @display(description="Result keys")
    def result_(self, plan: Plan) -> SafeString:
        """Show what fills the result."""
        return shown_json(plan.result)

    @display(description="Repairs")
    def repairs_(self, plan: Plan) -> SafeString:
        """Show what was mended."""
        return shown_json(plan.repairs)

    @display(description="Unserved criteria")
    def unserved_(self, plan: Plan) -> SafeString:
        """Show which criteria no step serves."""
        return shown_json(plan.unserved)


@admin.register(Step)
class StepAdmin(StatusAdmin):
    """Steps with their attempts and charges."""

    list_display = (
        "step_id",
        "task_link",
        "kind",
        "arm",
        "capability",
        "pill",
        "attempt_count",
        "started_at",
        "finished_at",
    )
    list_select_related = ("task",)
    list_filter = ("status", "kind", "arm", "capability", "queue", "created_at")
    search_fields = ("task__id", "step_id", "worker")
    inlines = (AttemptInline, ChargeInline)
    fields = (
        ("step_id", "task_link", "kind", "status"),
        ("arm", "capability", "queue"),
        "description",
        ("depends_on", "criteria", "taint"),
        ("attempt_count", "worker", "lease_until", "run_after"),
        ("confidence", "confidence_reason"),
        "error_",
        "input_",
        "output_",
        "evidence_",
    )

    @display(description="Task")
    def task_link(self, step: Step) -> SafeString:
        """Link to the task."""
        return link_to(step.task)

    @display(description="Input")
    def input_(self, step: Step) -> SafeString:
        """Show the input with its references."""
        return shown_json(step.input)

    @display(description="Output")
    def output_(self, step: Step) -> SafeString:
        """Show the output."""
        return shown_json(step.output)

    @display(description="Evidence")
    def evidence_(self, step: Step) -> SafeString:
        """Show the evidence."""
        return shown_json(step.evidence)

    @display(description="Error")
    def error_(self, step: Step) -> SafeString | str:
        """Show why the step failed."""
        return shown_json(step.error) if step.error else "none"


@admin.register(Attempt)
class AttemptAdmin(ReadOnlyAdmin):
    """Attempts."""

    list_display = (
        "step",
        "number",
        "outcome_",
        "worker",
        "instance",
        "started_at",
        "finished_at",
        "error_code",
    )
    list_select_related = ("step",)
    list_filter = ("outcome", "error_code", "started_at")
    search_fields = ("step__task__id", "request_id", "worker")

    @display(description="Outcome", label=COLOURS)
    def outcome_(self, attempt: Attempt) -> str:
        """Show the outcome as a coloured label with its word."""
        return attempt.outcome


@admin.register(TaskResult)
class TaskResultAdmin(ReadOnlyAdmin):
    """Results."""

    list_display = ("task_link", "run", "plan_version", "confidence", "created_at")
    list_select_related = ("task",)
    list_filter = ("created_at",)
    search_fields = ("task__id",)
    fields = ("task_link", ("run", "plan_version", "confidence"), "result_")

    @display(description="Task")
    def task_link(self, result: TaskResult) -> SafeString:
        """Link to the task."""
        return link_to(result.task)

    @display(description="Result")
    def result_(self, result: TaskResult) -> SafeString:
        """Show the result as it is stored."""
        return shown_json(result.result_data)


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    """Verdicts."""

    list_display = ("criterion", "verdict_", "kind", "method", "task_link", "run")
    list_select_related = ("task",)
    list_filter = ("verdict", "kind", "method")
    search_fields = ("task__id", "criterion")

    @display(description="Task")
    def task_link(self, verdict: Verdict) -> SafeString:
        """Link to the task."""
        return link_to(verdict.task)

    @display(description="Verdict", label=COLOURS)
    def verdict_(self, verdict: Verdict) -> str:
        """Show the verdict as a coloured label with its word."""
        return verdict.verdict


@admin.register(Charge)
class ChargeAdmin(ReadOnlyAdmin):
    """The ledger's rows."""

    list_display = (
        "model",
        "purpose",
        "state_",
        "dollars",
        "input_tokens",
        "output_tokens",
        "task_link",
        "created_at",
    )
    list_select_related = ("task",)
    list_filter = ("state", "purpose", "model", "created_at")
    search_fields = ("task__id",)

    @display(description="Task")
    def task_link(self, charge: Charge) -> SafeString:
        """Link to the task."""
        return link_to(charge.task)

    @display(description="State", label=COLOURS)
    def state_(self, charge: Charge) -> str:
        """Show the state as a coloured label with its word."""
        return charge.state

    @display(description="Dollars", ordering="settled_nano")
    def dollars(self, charge: Charge) -> str:
        """Show what was booked."""
        return f"${charge.settled_nano / 1e9:.9f}"
