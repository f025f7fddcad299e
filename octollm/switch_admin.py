"""Stopping and letting go on from the admin: switches, owners, and the banner."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.functional import SimpleLazyObject
from unfold.admin import ModelAdmin
from unfold.decorators import action

from octollm.access import owners
from octollm.access.models import Owner
from octollm.history import ReadOnlyAdmin
from octollm.resilience import switches
from octollm.resilience.models import Slot, Switch


def maintenance_banner(request: HttpRequest) -> dict[str, Any]:
    """Let every page of the admin ask whether maintenance is on; others ask nothing."""
    stands = SimpleLazyObject(lambda: switches.standing(switches.MAINTENANCE))
    return {"standing_maintenance": stands}


@admin.register(Switch)
class SwitchAdmin(ReadOnlyAdmin):
    """What is stopped and was, by whom and why; maintenance is turned here."""

    icon: ClassVar[str] = "power_settings_new"
    list_display = ("name", "since", "by", "reason", "is_now", "ended_at", "ended_by")
    list_filter = ("name", "since")
    search_fields = ("name", "by", "reason")
    actions_list = ("turn_on", "stop_all", "turn_off")  # type: ignore[assignment]  # unfold's is empty

    def has_turn_permission(self, request: HttpRequest) -> bool:
        """Whoever may change switches in general may turn them."""
        return request.user.has_perm("octollm.change_switch")

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Turn maintenance on",
        url_path="turn-on",
        permissions=["turn"],
    )
    def turn_on(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation and a reason, then let nothing start."""
        text = "No step starts from now on; what runs goes on to its end."
        return self._asked(request, text, lambda reason: self._on(request, reason))

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Stop everything now",
        url_path="stop-all",
        permissions=["turn"],
    )
    def stop_all(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation and a reason, then let nothing start or run."""
        text = "No step starts from now on, and what runs is given back at once."
        return self._asked(
            request, text, lambda reason: self._on(request, reason, is_now=True)
        )

    @action(  # type: ignore[operator]  # unfold names what it returns
        description="Turn maintenance off",
        url_path="turn-off",
        permissions=["turn"],
    )
    def turn_off(self, request: HttpRequest) -> HttpResponse:
        """Ask for confirmation, then let steps start again."""

        def off(_: str) -> str:
            name = request.user.get_username()
            is_changed = switches.turn_off(switches.MAINTENANCE, by=name)
            return "Maintenance is off." if is_changed else "Maintenance was not on."

        return self._asked(request, "Steps start again.", off)

    def _on(self, request: HttpRequest, reason: str, *, is_now: bool = False) -> str:
        name = request.user.get_username()
        count = switches.turn_on(
            switches.MAINTENANCE, by=name, reason=reason, is_now=is_now
        )
        return f"Maintenance is on; {count} steps were given back."

    def _asked(
        self, request: HttpRequest, text: str, act: Callable[[str], str]
    ) -> HttpResponse:
        """Act and say so once the question was confirmed; ask it before."""
        if request.method == "POST":
            self.message_user(request, act(request.POST.get("reason", "")))
            return redirect("admin:octollm_switch_changelist")
        return question(self, request, text, back="admin:octollm_switch_changelist")


class StoppingActions(ModelAdmin):
    """Actions on selected owners."""

    actions = ("stop", "stop_now", "start")

    def has_stop_permission(self, request: HttpRequest) -> bool:
        """Whoever may change owners may stop them."""
        return request.user.has_perm("octollm.change_owner")

    @admin.action(description="Stop selected owners", permissions=["stop"])
    def stop(
        self, request: HttpRequest, queryset: QuerySet[Owner]
    ) -> HttpResponse | None:
        """Ask for confirmation and a reason, then let nothing of theirs start."""
        return self._stop(request, queryset, is_now=False)

    @admin.action(
        description="Stop selected owners and what they run", permissions=["stop"]
    )
    def stop_now(
        self, request: HttpRequest, queryset: QuerySet[Owner]
    ) -> HttpResponse | None:
        """Ask for confirmation and a reason, then let nothing of theirs run."""
        return self._stop(request, queryset, is_now=True)

    @admin.action(description="Let selected owners go on", permissions=["stop"])
    def start(
        self, request: HttpRequest, queryset: QuerySet[Owner]
    ) -> HttpResponse | None:
        """Ask for confirmation, then let their steps start again."""
        if not request.POST.get("confirmed"):
            return self._ask(request, queryset, "Their steps start again.", "start")
        name = request.user.get_username()
        count = sum(owners.start(owner, by=name) for owner in queryset)
        self.message_user(request, f"{count} go on.")
        return None

    def _stop(
        self, request: HttpRequest, queryset: QuerySet[Owner], *, is_now: bool
    ) -> HttpResponse | None:
        if not request.POST.get("confirmed"):
            text = "Nothing of theirs starts from now on, and submissions are refused."
            if is_now:
                text += " What runs is given back at once."
            name = "stop_now" if is_now else "stop"
            return self._ask(request, queryset, text, name)
        by, reason = request.user.get_username(), request.POST.get("reason", "")
        chosen = list(queryset)
        count = sum(
            owners.stop(owner, by=by, reason=reason, is_now=is_now) for owner in chosen
        )
        stopped = f"{len(chosen)} stopped; {count} steps were given back."
        self.message_user(request, stopped)
        return None

    def _ask(
        self, request: HttpRequest, queryset: QuerySet[Owner], text: str, name: str
    ) -> HttpResponse:
        return question(
            self,
            request,
            text,
            back="admin:octollm_owner_changelist",
            rows=queryset,
            action=name,
        )


@admin.register(Slot)
class SlotAdmin(ReadOnlyAdmin):
    """Places of what is limited, and who holds them."""

    icon: ClassVar[str] = "grid_view"
    list_display = ("scope", "n", "holder", "taken_at")
    search_fields = ("scope", "holder")


def question(
    model_admin: ModelAdmin,
    request: HttpRequest,
    text: str,
    *,
    back: str,
    **context: Any,
) -> HttpResponse:
    """Return the page that asks whether it is meant."""
    return TemplateResponse(
        request,
        "admin/switch_question.html",
        {
            **model_admin.admin_site.each_context(request),
            "title": "Are you sure?",
            "opts": model_admin.opts,
            "text": text,
            "back": back,
            "action_checkbox_name": admin.helpers.ACTION_CHECKBOX_NAME,
            **context,
        },
    )
