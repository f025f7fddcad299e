"""The page of a task, with all that belongs to it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin, messages
from django.db.models import Count, IntegerField, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString, mark_safe
from unfold.decorators import display

from octollm.errors import IllegalStateError
from octollm.history import ReadOnlyInline, link_to, shown_json, shown_list
from tasks_app.admin.pages import StatusAdmin, answer_of, retry_all, shortened
from tasks_app.deletion import delete_task
from tasks_app.ledger_read import sums_of
from tasks_app.models import Approval, Plan, Step, Task, TaskEvent, TaskResult, Verdict

SHOWN_FORKS = 50


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


class ApprovalInline(ReadOnlyInline):
    """Whether the plans of a task were approved."""

    model = Approval
    fields = ("link", "state", "reason", "estimated_cost", "requested_at", "decided_by")
    readonly_fields = fields

    @display(description="Version")
    def link(self, approval: Approval) -> SafeString:
        """Link to the question and its answer."""
        return link_to(approval, str(approval.plan_version))


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
    list_filter = (
        *("status", "stage", "priority", "owner", "created_at", "stop_reason"),
        "plan_only",
    )
    search_fields = ("id", "goal")
    date_hierarchy = "created_at"
    actions = ("retry", "delete_for_good")
    inlines = (
        StepInline,
        VerdictInline,
        ResultInline,
        PlanInline,
        ApprovalInline,
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
                    ("assigned_arm", "plan_only", "approval"),
                    "given_plan_",
                    "grants_",
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
                    "ledger",
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
                    "removed_parts_",
                ),
            },
        ),
        (
            "Forks",
            {
                "classes": ("tab",),
                "fields": (("forked_from_", "forked_step"), "forks_", "model"),
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

    def has_erase_permission(self, request: HttpRequest) -> bool:
        """Who may delete tasks may do so by the action, which keeps a record."""
        return request.user.has_perm("tasks_app.delete_task")

    @admin.action(description="Delete for good", permissions=["erase"])
    def delete_for_good(
        self, request: HttpRequest, queryset: QuerySet[Task]
    ) -> HttpResponse | None:
        """Ask for confirmation, then delete those that have ended."""
        if request.POST.get("confirmed"):
            self._delete(request, queryset)
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Delete these tasks for good?",
            "opts": self.opts,
            "tasks": queryset.select_related("owner"),
            "action_checkbox_name": admin.helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/tasks_delete.html", context)

    def _delete(self, request: HttpRequest, tasks: QuerySet[Task]) -> None:
        deleted, left = 0, 0
        for task_id in tasks.values_list("pk", flat=True):
            try:
                delete_task(task_id, deleted_by=request.user.get_username())
                deleted += 1
            except IllegalStateError:
                left += 1
            except Task.DoesNotExist:
                # Somebody else was first.
                continue
        self.message_user(request, f"{deleted} deleted.")
        if left:
            text = f"{left} are still open: cancel them first."
            self.message_user(request, text, level=messages.WARNING)

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
            return "removed" if "results" in task.removed_parts else "none yet"
        return format_html("{} {}", answer_of(result), link_to(result, "(all of it)"))

    @display(description="Spent", ordering="spent_nano")
    def spent(self, task: Task) -> str:
        """Show the dollars spent."""
        return f"${task.spent_usd:.6f}"

    @display(description="Ledger")
    def ledger(self, task: Task) -> SafeString:
        """Show the sums that the owner sees; the charges have pages of their own."""
        url = reverse("admin:tasks_app_charge_changelist")
        return format_html(
            '{}<a class="text-link" href="{}?task__id__exact={}">charges</a>',
            shown_json(sums_of(task)),
            url,
            task.pk,
        )

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

    @display(description="The caller's own plan")
    def given_plan_(self, task: Task) -> SafeString | str:
        """Show the plan that came with the request."""
        return shown_json(task.given_plan) if task.given_plan else "none"

    @display(description="Forked from")
    def forked_from_(self, task: Task) -> SafeString | str:
        """Link to the task that this one was forked from."""
        old = task.forked_from
        return "-" if old is None else link_to(old, shortened(old.goal))

    @display(description="Forks of it")
    def forks_(self, task: Task) -> SafeString | str:
        """Link to the latest tasks that were forked from this one."""
        forks = task.forks.order_by("-created_at").only("goal", "status", "forked_step")
        links = [
            (link_to(fork, shortened(fork.goal)), fork.forked_step or "-", fork.status)
            for fork in forks[:SHOWN_FORKS]
        ]
        return format_html_join(mark_safe("<br>"), "{} from {}: {}", links) or "-"

    def has_retry_permission(self, request: HttpRequest) -> bool:
        """Whoever may change tasks in general may retry them."""
        return request.user.has_perm("tasks_app.change_task")

    @admin.action(description="Retry selected tasks", permissions=["retry"])
    def retry(self, request: HttpRequest, queryset: QuerySet[Task]) -> None:
        """Let failed tasks go on from what failed."""
        retry_all(self, request, queryset.values_list("pk", flat=True))

    @display(description="Removed by retention")
    def removed_parts_(self, task: Task) -> str:
        """Name what is not kept any more."""
        return shown_list(task.removed_parts, empty="nothing")

    @display(description="Granted to plans")
    def grants_(self, task: Task) -> SafeString | str:
        """Show what plans of this task may use."""
        return shown_json(task.grants) if task.grants else "nothing yet"


def _plain(value: Any) -> str:
    return shown_list(value) if isinstance(value, list) else str(value)


def _count(rows: QuerySet[Any]) -> Coalesce:
    """Return a subquery that counts rows of an outer task."""
    counted = rows.order_by().values("task").annotate(count=Count("pk")).values("count")
    return Coalesce(Subquery(counted, output_field=IntegerField()), 0)
