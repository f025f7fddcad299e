"""The page of instances: how each is, and what an operator does to it."""

from __future__ import annotations

from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.decorators import display
from unfold.views import ChangeList

from arms import operating, registration
from arms.admin import shown
from arms.admin.instance_acts import OperatingActions
from arms.admin.instance_forms import InstanceForm, NewInstanceForm
from arms.registry_models import ArmInstance, HealthCheck

_Source = ArmInstance.Source
# Others come back by themselves: with the settings, or with the next worker.
_CAN_LEAVE = frozenset({_Source.ANNOUNCED, _Source.OPERATOR})
# The settings name the variable of theirs, and nobody calls this process.
_HAS_TOKEN = _CAN_LEAVE


class InstanceChangeList(ChangeList):
    """A page of instances with how they stand."""

    def get_results(self, request: HttpRequest) -> None:
        """Look the rest of the page up at once, not row by row."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        shown.look_at(self.result_list)


class InstanceColumns:
    """The columns that tell of an instance."""

    @display(description="State", ordering="state", label=shown.COLOURS)
    def pill(self, row: ArmInstance) -> str:
        """Show the state as a coloured label with its word."""
        return row.state

    @display(description="Last checks")
    def strip(self, row: ArmInstance) -> SafeString:
        """Show the last checks as bars."""
        return shown.strip(row)

    @display(description="Checks take", ordering="latency_ms")
    def latency(self, row: ArmInstance) -> str:
        """Show how long its checks take."""
        return shown.latency(row)

    @display(description="Breaker", label=shown.BREAKER_COLOURS)
    def breaker(self, row: ArmInstance) -> str:
        """Show whether calls are let through."""
        return shown.breaker(row)

    @display(description="Places taken")
    def places(self, row: ArmInstance) -> str:
        """Show how many of its places are taken."""
        return shown.places(row)

    @display(description="Where", ordering="location")
    def where(self, row: ArmInstance) -> SafeString:
        """Show the address, and what is wrong there."""
        return format_html(
            '<span style="{0}">{1}</span><span style="{0}">{2}</span>',
            *("display:block;min-width:15rem;overflow-wrap:anywhere", row.location),
            row.detail,
        )


@admin.register(ArmInstance)
class ArmInstanceAdmin(InstanceColumns, OperatingActions):  # type: ignore[misc]  # unfold's
    """Instances of arms: added, drained, disabled, enabled and weighted here."""

    icon: ClassVar[str] = "lan"
    list_per_page = 50
    list_filter_submit = True
    list_display = (
        *("arm_name", "where", "pill", "strip", "weight", "latency", "breaker"),
        *("places", "checked_at", "heartbeat_at"),
    )
    list_filter = ("state", "source", "arm")
    search_fields = ("arm__name", "location", "detail")
    readonly_fields = (
        *("arm", "location", "source", "pill", "since", "detail", "strip"),
        *(
            "version",
            "latency",
            "breaker",
            "breaker_until",
            "places",
            "checked_at",
            "probe_at",
        ),
        *("heartbeat_at", "falls", "rises", "all_checks"),
    )
    _shown = (
        ("arm", "location"),
        ("pill", "since"),
        *("detail", "strip", "all_checks"),
        ("source", "version"),
        ("latency", "places"),
        ("breaker", "breaker_until"),
        ("checked_at", "probe_at"),
        ("heartbeat_at", "falls", "rises"),
    )

    @display(description="Arm", ordering="arm")
    def arm_name(self, row: ArmInstance) -> str:
        """Name the arm."""
        return row.arm_id

    @display(description="Left alone until")
    def breaker_until(self, row: Any) -> str:
        """Show until when nobody asks it."""
        until = row.look.breaker.until
        return shown.moment(until) if until else "-"

    @display(description="All checks")
    def all_checks(self, row: ArmInstance) -> SafeString:
        """Link to the history."""
        url = reverse("admin:arms_healthcheck_changelist")
        link = '<a class="text-link" href="{}?q={}">All checks that are kept</a>'
        return format_html(link, url, row.pk)

    # What the pages consist of ----------------------------------------------------------
    def get_changelist(  # type: ignore[override]  # unfold names an object
        self, request: HttpRequest, **kwargs: Any
    ) -> type[ChangeList]:
        """Return the list that looks a page up at once."""
        return InstanceChangeList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return an instance with how it stands."""
        row = super().get_object(request, object_id, from_field)
        if row is not None:
            shown.look_at([row])
        return row

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: Any = None, **kwargs: Any
    ) -> Any:
        """Ask for a place if there is none yet."""
        kwargs["form"] = NewInstanceForm if obj is None else InstanceForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Ask for what a new one needs; show all that is known of an old one."""
        if obj is None:
            return NewInstanceForm.field_order
        may_change = self.has_change_permission(request, obj)
        token = ("secret",) if may_change and obj.source in _HAS_TOKEN else ()
        return (*self._shown, "weight", *token)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Let everything be asked for of a new one."""
        return self.readonly_fields if obj else ()

    # What changes them ------------------------------------------------------------------
    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Who has the permission may delete what does not come back by itself."""
        may = super().has_delete_permission(request, obj)
        return may and (obj is None or obj.source in _CAN_LEAVE)

    def get_deleted_objects(self, objs: Any, request: HttpRequest) -> Any:
        """Let the history go with its instance, though no check goes alone."""
        found, counts, needed, protected = super().get_deleted_objects(objs, request)
        return found, counts, needed - {HealthCheck._meta.verbose_name}, protected

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: Any
    ) -> None:
        """Enter a new one; of an old one write what was changed and nothing else.

        A probe may have found it in another state since the page was shown.
        """
        by, given = request.user.get_username(), form.cleaned_data
        if not change:
            entered = registration.announce(
                registration.Announcement(
                    arm=given["name"],
                    url=given["url"],
                    source=_Source.OPERATOR,
                    token=given["secret"],
                    weight=given["weight"],
                )
            )
            obj.pk = entered.pk
            obj.refresh_from_db()
            return
        if "weight" in form.changed_data:
            operating.reweigh(obj.pk, given["weight"], by=by)
        if given.get("secret"):
            operating.set_token(obj.pk, given["secret"], by=by)

    def delete_model(self, request: HttpRequest, obj: Any) -> None:
        """Take it out, and its places."""
        registration.leave(obj.pk)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Take them out, and their places."""
        for pk in list(queryset.values_list("pk", flat=True)):
            registration.leave(pk)
