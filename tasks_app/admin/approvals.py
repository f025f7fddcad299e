"""Where operators see which plans wait for a person, and answer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.db.models import Case, IntegerField, Value, When
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.safestring import SafeString
from unfold.decorators import action, display
from unfold.enums import ActionVariant
from unfold.widgets import UnfoldAdminTextareaWidget

from octollm.errors import OctoLLMError
from octollm.history import shown_json
from tasks_app import approvals
from tasks_app.admin.pages import TaskPartAdmin
from tasks_app.approval_serializers import MAX_COMMENT
from tasks_app.approvals import Answer, Decider
from tasks_app.models import Approval, Plan, Step

_COLOURS = {
    "pending": "info",
    "approved": "success",
    "rejected": "danger",
    "expired": "warning",
    "withdrawn": "warning",
}
# A plan has 200,000 characters at most, and whoever approves it must see all of it.
_WHOLE = 1_000_000
_PENDING_FIRST = Case(
    When(state="pending", then=Value(0)), default=Value(1), output_field=IntegerField()
)


class AnswerForm(forms.Form):
    """A comment, and what was shown when it was written."""

    plan_version = forms.IntegerField(widget=forms.HiddenInput)
    digest = forms.CharField(widget=forms.HiddenInput)
    comment = forms.CharField(
        required=False,
        max_length=MAX_COMMENT,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}),
        help_text="Kept with the answer; personal data in it is concealed.",
    )


@admin.register(Approval)
class ApprovalAdmin(TaskPartAdmin):
    """Plans that wait for a person, and those that were answered."""

    icon: ClassVar[str] = "approval"
    list_display = (
        *("task_link", "plan_version", "state_", "reason", "estimated_cost"),
        *("requested_at", "expires_at", "decided_by"),
    )
    list_select_related = ("task",)
    list_filter = ("state", "reason", "requested_at")
    search_fields = ("task__id", "decided_by")
    ordering = (_PENDING_FIRST, "-requested_at")
    actions_detail = ("approve", "reject")  # type: ignore[assignment] # typed as empty
    fields = (
        ("task_link", "plan_version"),
        ("state_", "reason"),
        ("beyond_", "estimated_cost"),
        ("requested_at", "expires_at"),
        ("decided_by", "decided_at"),
        "comment",
        "steps_",
        "digest",
    )

    @display(description="State", ordering="state", label=_COLOURS)
    def state_(self, approval: Approval) -> str:
        """Show the state as a coloured label with its word."""
        return approval.state

    @display(description="Beyond policy or earlier grants")
    def beyond_(self, approval: Approval) -> str:
        """Name what an approval would grant."""
        pairs = (f"{kind[:-1]} “{name}”" for kind, name in approval.beyond)
        return "; ".join(pairs) or "nothing"

    @display(description="Steps")
    def steps_(self, approval: Approval) -> SafeString:
        """Show every step with its inputs as they are stored, whole."""
        plan = Plan.objects.get(task_id=approval.task_id, version=approval.plan_version)
        rows = Step.objects.in_bulk(plan.step_ids)
        ordered = [rows[pk] for pk in plan.step_ids if pk in rows]
        return shown_json([_shown(step) for step in ordered], limit=_WHOLE)

    def has_answer_permission(self, request: HttpRequest, pk: Any = None) -> bool:
        """Answering takes the permission to change, which no other page uses."""
        return request.user.has_perm(approvals.PERMISSION)

    def get_actions_detail(self, request: HttpRequest, object_id: Any) -> list[Any]:
        """Offer the answers only while there is a question."""
        waits = Approval.objects.filter(pk=object_id, state=Approval.State.PENDING)
        return super().get_actions_detail(request, object_id) if waits else []

    @action(  # type: ignore[operator] # typed as what the decorator returns
        description="Approve",
        permissions=["answer"],
        icon="check",
        variant=ActionVariant.PRIMARY,
    )
    def approve(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let the plan run."""
        return self._answer(request, object_id, approvals.approve, word="Approve")

    @action(  # type: ignore[operator] # likewise
        description="Reject",
        permissions=["answer"],
        icon="close",
        variant=ActionVariant.DANGER,
    )
    def reject(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Cancel the task."""
        return self._answer(request, object_id, approvals.reject, word="Reject")

    def _answer(
        self,
        request: HttpRequest,
        object_id: str,
        decide: Callable[[UUID, Decider, Answer], None],
        *,
        word: str,
    ) -> HttpResponse:
        """Ask for a comment, then answer what was shown."""
        approval = self.get_object(request, object_id)
        if approval is None:
            raise Http404
        shown = {"plan_version": approval.plan_version, "digest": approval.digest}
        form = AnswerForm(request.POST or None, initial=shown)
        if not form.is_valid():
            return self._asked(request, approval, form, word=word)
        decider = Decider.operator(request.user.get_username())
        try:
            decide(approval.task_id, decider, Answer(**form.cleaned_data))
        except OctoLLMError as error:
            self.message_user(request, error.message, messages.ERROR)
        else:
            self.message_user(request, f"{word}: done.")
        page = reverse("admin:tasks_app_approval_change", args=[approval.pk])
        return HttpResponseRedirect(page)

    def _asked(
        self, request: HttpRequest, approval: Approval, form: AnswerForm, *, word: str
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"{word} version {approval.plan_version} of the plan?",
            "opts": self.opts,
            "approval": approval,
            "beyond": self.beyond_(approval),
            "steps": self.steps_(approval),
            "form": form,
            "word": word,
        }
        return TemplateResponse(request, "admin/approval_answer.html", context)


def _shown(step: Step) -> dict[str, Any]:
    return {
        "step_id": step.step_id,
        "arm": f"{step.arm}.{step.capability}",
        "description": step.description,
        "depends_on": step.depends_on,
        "input": step.input,
        "estimated_cost": f"{step.estimated_cost:.6f}",
        "status": step.status,
    }
