"""The operator's pages: what happened, read-only.

Texts stand as they are stored, with placeholders; nothing is revealed here.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display

from octollm.history import (
    ReadOnlyAdmin,
    ReadOnlyInline,
    link_to,
    shown_json,
    shown_list,
)
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


SHOWN_GOAL = 60


def shortened(goal: str) -> str:
    """Return the beginning of a goal."""
    return goal if len(goal) <= SHOWN_GOAL else f"{goal[: SHOWN_GOAL - 1]}…"


def answer_of(result: TaskResult) -> str:
    """Return what a result says in a line."""
    return str(result.result_data.get("answer") or "no answer")


def _plain(value: Any) -> str:
    return shown_list(value) if isinstance(value, list) else str(value)


def _count(rows: QuerySet[Any]) -> Coalesce:
    """Return a subquery that counts rows of an outer task."""
    counted = rows.order_by().values("task").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)


class StatusAdmin(ReadOnlyAdmin):
    """A history whose rows have a status."""

    @display(description="Status", label=COLOURS)
    def pill(self, row: Any) -> str:
        """Show the status as a coloured label with its word."""
        return str(row.status)


class TaskPartAdmin(StatusAdmin):
    """A history whose rows belong to tasks."""

    @display(description="Task", ordering="task__goal")
    def task_link(self, row: Any) -> SafeString:
        """Link to the task."""
        return link_to(row.task, shortened(row.task.goal))


class StepInline(ReadOnlyInline):
    """The steps of a task."""

    model = Step
    fields = (
        "link",
        "kind",
        "arm",
        "capability",
        "status",
        "attempt_count",
        "started_at",
        "finished_at",
    )
    readonly_fields = fields
    # As they ran; what has not started comes last.
    ordering = ("started_at", "id")

    @display(description="Step")
    def link(self, step: Step) -> SafeString:
        """Link to the step."""
        return link_to(step, step.step_id)


class PlanInline(ReadOnlyInline):
    """The plan versions of a task."""

    model = Plan
    fields = ("link", "source", "recipe", "model", "total_estimated_cost", "created_at")
    readonly_fields = fields

    @display(description="Version")
    def link(self, plan: Plan) -> SafeString:
        """Link to the plan."""
        return link_to(plan, str(plan.version))


class VerdictInline(ReadOnlyInline):
    """The verdicts on a task."""

    model = Verdict
    fields = ("kind", "criterion", "verdict", "evidence", "method", "run")
    readonly_fields = fields


class ResultInline(ReadOnlyInline):
    """The results of a task."""

    model = TaskResult
    verbose_name_plural = "results"
    fields = ("link", "plan_version", "confidence", "answer", "created_at")
    readonly_fields = fields

    @display(description="Run")
    def link(self, result: TaskResult) -> SafeString:
        """Link to the result."""
        return link_to(result, str(result.run))

    @display(description="Answer")
    def answer(self, result: TaskResult) -> str:
        """Show the result in a line."""
        return answer_of(result)


class EventInline(ReadOnlyInline):
    """The events of a task."""

    model = TaskEvent
    verbose_name_plural = "events"
    fields = ("seq", "type", "at", "details")
    readonly_fields = fields

    @display(description="Details")
    def details(self, event: TaskEvent) -> str:
        """Show what belongs to the event in one line."""
        return "; ".join(f"{key}: {_plain(event.data[key])}" for key in event.data)


class AttemptInline(ReadOnlyInline):
    """The attempts at a step."""

    model = Attempt
    fields = ("link", "outcome", "worker", "started_at", "finished_at", "error_code")
    readonly_fields = fields

    @display(description="Number")
    def link(self, attempt: Attempt) -> SafeString:
        """Link to the attempt."""
        return link_to(attempt, str(attempt.number))


class ChargeInline(ReadOnlyInline):
    """The charges of a step."""

    model = Charge
    fk_name = "step"
    fields = ("purpose", "model", "state", "settled_nano", "input_tokens")
    readonly_fields = fields


@admin.register(Task)
class TaskAdmin(StatusAdmin):
    """Tasks."""

    icon: ClassVar[str] = "task_alt"
    list_display = (
        "short_goal",
        "pill",
        "stage",
        "priority",
        "owner",
        "steps_done",
        "spent",
        "created_at",
        "duration",
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
        (
            None,
            {
                "fields": (
                    "goal",
                    ("owner", "priority"),
                    ("status", "stage"),
                    "answer",
                    "error_",
                )
            },
        ),
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
                    ("spent_tokens", "held_tokens"),
                    "max_tokens",
                    ("max_time_seconds", "deadline_at"),
                ),
            },
        ),
        (
            "Times",
            {
                "classes": ("tab",),
                "fields": (
                    ("created_at", "started_at"),
                    ("finished_at", "duration"),
                    ("run", "plan_version"),
                    ("stop_reason", "event_head"),
                ),
            },
        ),
    )

    @display(description="Goal", ordering="goal")
    def short_goal(self, task: Task) -> str:
        """Show the beginning of the goal."""
        return shortened(task.goal)

    def get_queryset(self, request: HttpRequest) -> QuerySet[Task]:
        """Count the steps in the same query."""
        steps = Step.objects.filter(task=OuterRef("pk"))
        tasks: QuerySet[Task] = super().get_queryset(request)
        return tasks.annotate(
            step_count=_count(steps),
            done_count=_count(steps.filter(status=Step.Status.DONE)),
        )

    @display(description="Steps")
    def steps_done(self, task: Any) -> str:
        """Show how many steps are done."""
        return f"{task.done_count} / {task.step_count}"

    @display(description="Took")
    def duration(self, task: Task) -> str:
        """Show the seconds from the first step's start to the end."""
        if task.started_at is None or task.finished_at is None:
            return "-"
        return f"{(task.finished_at - task.started_at).total_seconds():.2f} s"

    @display(description="Answer")
    def answer(self, task: Task) -> SafeString | str:
        """Show the latest result in a line, and link to all of it."""
        result = TaskResult.objects.filter(task=task).order_by("-run").first()
        if result is None:
            return "none yet"
        return format_html("{} {}", answer_of(result), link_to(result, "(all of it)"))

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
class PlanAdmin(TaskPartAdmin):
    """Plan versions with their steps."""

    icon: ClassVar[str] = "account_tree"
    list_display = ("task_link", "version", "source", "recipe", "model", "created_at")
    list_select_related = ("task",)
    list_filter = ("source", "recipe", "model", "created_at")
    search_fields = ("task__id",)
    fields = (
        ("task_link", "version"),
        ("source", "recipe"),
        ("model", "prompt_version"),
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
    fields = (
        "task_link",
        ("step_id", "status"),
        ("kind", "queue"),
        ("arm", "capability"),
        "description",
        ("depends_on_", "taint_"),
        ("attempt_count", "worker"),
        ("run_after", "lease_until"),
        ("started_at", "finished_at"),
        "confidence",
        "confidence_reason",
        "error_",
        "input_",
        "output_",
        "evidence_",
    )

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


@admin.register(Charge)
class ChargeAdmin(TaskPartAdmin):
    """The ledger's rows."""

    icon: ClassVar[str] = "payments"
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

    @display(description="State", label=COLOURS)
    def state_(self, charge: Charge) -> str:
        """Show the state as a coloured label with its word."""
        return charge.state

    @display(description="Dollars", ordering="settled_nano")
    def dollars(self, charge: Charge) -> str:
        """Show what was booked."""
        return f"${charge.settled_nano / 1e9:.9f}"
