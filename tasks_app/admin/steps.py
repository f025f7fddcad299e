"""The pages of plans and steps: what was tried, and what it cost."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.decorators import display

from octollm.history import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    link_to,
    shown_json,
    shown_list,
)
from tasks_app.admin.pages import (
    COLOURS,
    TaskPartAdmin,
    retry_all,
    shortened,
    shown_dollars,
)
from tasks_app.models import Attempt, Charge, Plan, Step
from tasks_app.plan_versions import differences


class AttemptInline(ReadOnlyInline):
    """The attempts at a step."""

    model = Attempt
    fields = (
        *("link", "outcome", "instance", "reason", "worker", "queued_s"),
        *("started_at", "finished_at", "error_code"),
    )
    readonly_fields = fields

    @display(description="Number")
    def link(self, attempt: Attempt) -> SafeString:
        """Link to the attempt."""
        return link_to(attempt, str(attempt.number))


class ChargeInline(ReadOnlyInline):
    """The charges of a step."""

    model = Charge
    fk_name = "step"
    fields = (
        "link",
        "provider",
        "model",
        "rung",
        "state",
        "dollars",
        "input_tokens",
        "output_tokens",
        "latency_s",
    )
    readonly_fields = fields

    @display(description="Purpose")
    def link(self, charge: Charge) -> SafeString:
        """Link to the charge."""
        return link_to(charge, charge.purpose)

    @display(description="Dollars")
    def dollars(self, charge: Charge) -> str:
        """Show what was booked."""
        return shown_dollars(charge.settled_nano)


@admin.register(Plan)
class PlanAdmin(TaskPartAdmin):
    """Plan versions with their steps."""

    icon: ClassVar[str] = "account_tree"
    list_display = ("task_link", "version", "source", "recipe", "model", "created_at")
    list_select_related = ("task",)
    list_filter = ("source", "recipe", "model", "created_at")
    search_fields = ("task__id",)
    fields = (
        ("task_link", "version"),
        ("reason", "run"),
        ("source", "recipe"),
        ("model", "prompt_version"),
        "diff_",
        "total_estimated_cost",
        ("total_estimated_time", "sum_estimated_time"),
        "steps_",
        "result_",
        "repairs_",
        "unserved_",
    )

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
                    "estimated_cost": f"{step.estimated_cost:.6f}",
                    "estimated_time": step.estimated_time,
                    "estimated_time_p90": step.estimated_time_p90,
                    "status": step.status,
                }
                for step in ordered
            ]
        )

    @display(description="Against the version before")
    def diff_(self, plan: Plan) -> SafeString:
        """Show which steps stayed, came and went."""
        plans = Plan.objects.filter(task=plan.task_id)
        steps = Step.objects.filter(task=plan.task_id).only("step_id", "kind")
        return shown_json(differences(list(plans), steps)[plan.version].to_json())

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
class StepAdmin(TaskPartAdmin):
    """Steps with their attempts and charges."""

    icon: ClassVar[str] = "checklist"
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
    actions = ("retry",)
    fields = (
        "task_link",
        ("step_id", "status"),
        ("kind", "queue"),
        ("arm", "capability"),
        "description",
        ("depends_on_", "taint_"),
        ("attempt_count", "worker"),
        ("run_after", "lease_until"),
        "estimated_cost",
        ("estimated_time", "estimated_time_p90"),
        ("started_at", "finished_at"),
        "confidence",
        "confidence_reason",
        "error_",
        "input_",
        "output_",
        "evidence_",
    )

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whoever may change tasks in general may retry them."""
        return request.user.has_perm("tasks_app.change_task")

    @admin.action(
        description="Retry the tasks of selected dead steps", permissions=["retry"]
    )
    def retry(self, request: HttpRequest, queryset: QuerySet[Step]) -> None:
        """Let the tasks of dead steps go on from what failed."""
        dead = queryset.filter(status=Step.Status.DEAD).order_by()
        retry_all(self, request, dead.values_list("task_id", flat=True).distinct())

    @display(description="Depends on")
    def depends_on_(self, step: Step) -> str:
        """Name the steps that come before."""
        return shown_list(step.depends_on)

    @display(description="Taint")
    def taint_(self, step: Step) -> str:
        """Name the families of suspicious text in what the step took."""
        return shown_list(step.taint)

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

    icon: ClassVar[str] = "replay"
    list_display = (
        "step",
        "task_link",
        "number",
        "outcome_",
        "worker",
        "started_at",
        "finished_at",
        "error_code",
    )
    list_select_related = ("step__task",)
    list_filter = ("outcome", "error_code", "started_at")
    search_fields = ("step__task__id", "request_id", "worker")

    @display(description="Task")
    def task_link(self, attempt: Attempt) -> SafeString:
        """Link to the task."""
        return link_to(attempt.step.task, shortened(attempt.step.task.goal))

    @display(description="Outcome", label=COLOURS)
    def outcome_(self, attempt: Attempt) -> str:
        """Show the outcome as a coloured label with its word."""
        return attempt.outcome
