"""What an operator does to instances, each behind a question, logged with who and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from unfold.admin import ModelAdmin
from unfold.decorators import action

from arms import operating
from arms.registry_models import ArmInstance
from octollm.switch_admin import question

_Rows = QuerySet[ArmInstance]

_BACK = "admin:arms_arminstance_changelist"
_ACTS: dict[str, Callable[..., bool]] = {
    "drain": operating.drain,
    "disable": operating.disable,
    "enable": operating.enable,
    "close_breaker": operating.close_breaker,
}
_TEXTS = {
    "drain": "It gets nothing new, and answers for what it has.",
    "disable": "It is left alone at once. Steps that it may have begun wait until it "
    "is enabled, or until their tasks' deadlines: drain it first.",
    "enable": "It is probed at once, and gets steps when it is found well.",
    "close_breaker": "Every process may call it again. Five failures open it anew.",
}
_WORDS = {
    "drain": "Drained.",
    "disable": "Disabled.",
    "enable": "Enabled.",
    "close_breaker": "Breaker closed.",
}


class OperatingActions(ModelAdmin):
    """Actions on selected instances, and the same on the page of one."""

    actions = ("drain", "disable", "enable", "close_breaker")
    actions_detail = (  # type: ignore[assignment]  # unfold's is empty
        *("drain_this", "disable_this", "enable_this", "close_this_breaker"),
    )

    def has_operate_permission(self, request: HttpRequest, pk: Any = None) -> bool:
        """Whoever may change instances in general may operate them."""
        return request.user.has_perm("arms.change_arminstance")

    @admin.action(description="Drain selected instances", permissions=["operate"])
    def drain(self, request: HttpRequest, queryset: _Rows) -> HttpResponse | None:
        """Give them nothing new."""
        return self._on_selected(request, queryset, "drain")

    @admin.action(description="Disable selected instances", permissions=["operate"])
    def disable(self, request: HttpRequest, queryset: _Rows) -> HttpResponse | None:
        """Leave them alone."""
        return self._on_selected(request, queryset, "disable")

    @admin.action(description="Enable selected instances", permissions=["operate"])
    def enable(self, request: HttpRequest, queryset: _Rows) -> HttpResponse | None:
        """Let them be probed and asked."""
        return self._on_selected(request, queryset, "enable")

    @admin.action(
        description="Close the breakers of selected instances", permissions=["operate"]
    )
    def close_breaker(
        self, request: HttpRequest, queryset: _Rows
    ) -> HttpResponse | None:
        """Let every process call them."""
        return self._on_selected(request, queryset, "close_breaker")

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Drain", url_path="drain", permissions=["operate"]
    )
    def drain_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Give it nothing new."""
        return self._on_one(request, object_id, "drain")

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Disable", url_path="disable", permissions=["operate"]
    )
    def disable_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Leave it alone."""
        return self._on_one(request, object_id, "disable")

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Enable", url_path="enable", permissions=["operate"]
    )
    def enable_this(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let it be probed and asked."""
        return self._on_one(request, object_id, "enable")

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Close breaker", url_path="close-breaker", permissions=["operate"]
    )
    def close_this_breaker(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Let every process call it."""
        return self._on_one(request, object_id, "close_breaker")

    def _on_selected(
        self, request: HttpRequest, queryset: _Rows, name: str
    ) -> HttpResponse | None:
        if request.POST.get("confirmed"):
            self._act(request, queryset, name)
            return None
        text = f"Each of them: {_TEXTS[name][0].lower()}{_TEXTS[name][1:]}"
        return question(self, request, text, back=_BACK, rows=queryset, action=name)

    def _on_one(self, request: HttpRequest, object_id: str, name: str) -> HttpResponse:
        row = self.get_object(request, object_id)
        if row is None:
            raise Http404
        if request.method == "POST" and request.POST.get("confirmed"):
            self._act(request, [row], name)
            return redirect("admin:arms_arminstance_change", row.pk)
        return question(self, request, f"{row}. {_TEXTS[name]}", back=_BACK)

    def _act(
        self, request: HttpRequest, rows: Iterable[ArmInstance], name: str
    ) -> None:
        """Do it to each, log what changed, and say how many that were."""
        by, reason = request.user.get_username(), request.POST.get("reason", "")[:500]
        chosen = list(rows)
        changed = [row for row in chosen if _ACTS[name](row.pk, by=by, reason=reason)]
        for row in changed:
            self.log_change(request, row, f"{_WORDS[name]} {reason}".strip())
        level = messages.SUCCESS if changed else messages.WARNING
        told = f"{len(changed)} of {len(chosen)} changed."
        self.message_user(request, told, level=level)
