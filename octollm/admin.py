"""The operator's pages of this app, and what every page of the admin shows."""

from __future__ import annotations

import contextlib
from typing import Any, ClassVar

from django import forms
from django.conf import settings
from django.contrib import admin
from django.contrib.admin.exceptions import NotRegistered
from django.contrib.auth.admin import GroupAdmin as DjangoGroupAdmin
from django.contrib.auth.admin import UserAdmin as DjangoUserAdmin
from django.contrib.auth.models import Group, User
from django.db.models import Count, Model, QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.utils import timezone
from django_dramatiq.models import Task as QueueMessage
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminTextInputWidget,
)

from octollm.access.keys import KNOWN_SCOPES, is_scope, make_key, revoke_keys
from octollm.access.models import ApiKey, Owner
from octollm.access.owners import follow_limit, usual_limit
from octollm.history import ReadOnlyAdmin, shown_list
from octollm.resilience.models import Breaker, Leader, Worker
from octollm.switch_admin import StoppingActions

_BREAKER_COLOURS = {"closed": "success", "half_open": "warning", "open": "danger"}
_STATE_COLOURS = {"active": "success", "expired": "warning", "revoked": "danger"}

# It would show message arguments as HTML, whatever they hold, and its table stays
# empty here: the queue's middleware that fills it is left out.
with contextlib.suppress(NotRegistered):
    admin.site.unregister(QueueMessage)
admin.site.unregister([User, Group])


def environment_badge(request: HttpRequest) -> list[str]:
    """Return the badge beside the title: where we are, and its colour."""
    label: str = settings.ENVIRONMENT_LABEL
    return [label, "danger" if label == "production" else "info"]


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """Return the sidebar: the groups of the settings with what the person may see.

    An admin class may name its symbol as ``icon``.
    """
    shown = [
        model
        for app in admin.site.get_app_list(request)
        for model in app["models"]
        if model["admin_url"]
    ]
    groups = []
    for title, labels in settings.OCTOLLM_ADMIN_GROUPS.items():
        # By place in the group's list; within an app in the order of their names.
        placed = [(_place(model["model"], labels), model) for model in shown]
        chosen = sorted((p for p in placed if p[0] >= 0), key=lambda pair: pair[0])
        if chosen:
            items = [_item(model) for _, model in chosen]
            groups.append({"title": title, "separator": True, "items": items})
    return groups


def _place(model: type[Model], labels: list[str]) -> int:
    """Return where a list of models and apps names the model, -1 if nowhere."""
    own = (model._meta.label_lower, model._meta.app_label)
    return next((labels.index(label) for label in own if label in labels), -1)


def _item(model: dict[str, Any]) -> dict[str, Any]:
    model_admin = admin.site.get_model_admin(model["model"])
    name = str(model["name"])
    return {
        "title": name[:1].upper() + name[1:],
        "link": model["admin_url"],
        "icon": getattr(model_admin, "icon", "list"),
    }


@admin.register(Owner)
class OwnerAdmin(StoppingActions):
    """Owners; one that must go is made inactive, for tasks hang on its row."""

    icon: ClassVar[str] = "badge"
    list_display = (
        *("name", "is_active", "stopped_at", "max_running", "monthly_cap_usd"),
        *("user", "key_count", "created_at"),
    )
    list_filter = ("is_active", "stopped_at")
    ordering = ("name",)
    search_fields = ("name", "user__username")
    list_select_related = ("user",)
    autocomplete_fields = ("user",)
    fields = (
        *("name", "user", "is_active", "monthly_cap_usd", "max_running"),
        *("stopped_at", "created_at"),
    )
    readonly_fields = ("stopped_at", "created_at")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Owner]:
        """Count each owner's keys in the same query."""
        queryset: QuerySet[Owner] = super().get_queryset(request)
        return queryset.annotate(key_count=Count("keys"))

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Offer a new owner the usual limit."""
        asked: dict[str, Any] = super().get_changeform_initial_data(request)
        return {"max_running": usual_limit(), **asked}

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: Any
    ) -> None:
        """Make the owner's slots as many as it may have running."""
        super().save_model(request, obj, form, change)
        follow_limit(obj)

    @admin.display(description="keys", ordering="key_count")
    def key_count(self, owner: Any) -> int:
        """Return how many keys act for the owner."""
        return int(owner.key_count)

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes owners."""
        return False


class ApiKeyForm(forms.ModelForm[ApiKey]):
    """What is asked for a new key."""

    scopes = forms.MultipleChoiceField(
        choices=[(scope, scope) for scope in sorted(KNOWN_SCOPES)],
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="None: the full API.",
    )
    announces = forms.CharField(
        required=False,
        max_length=1_000,
        widget=UnfoldAdminTextInputWidget,
        help_text="To announce instances of an arm, and for nothing else: arm:NAME, "
        "several with commas between, or arms for any arm.",
    )

    class Meta:
        """Name the fields."""

        model = ApiKey
        fields = ("owner", "name", "scopes", "expires_at")

    def clean(self) -> dict[str, Any]:
        """Add the scopes of arms to the others."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        named = [each.strip() for each in cleaned.get("announces", "").split(",")]
        scopes = [each for each in named if each]
        if not all(map(is_scope, scopes)):
            self.add_error("announces", "Each is arm:NAME, or arms for any arm.")
        else:
            cleaned["scopes"] = [*cleaned.get("scopes", []), *scopes]
        return cleaned

    def clean_expires_at(self) -> Any:
        """Refuse a time that has passed."""
        moment = self.cleaned_data["expires_at"]
        if moment and moment <= timezone.now():
            raise forms.ValidationError("A key must expire in the future.")
        return moment


@admin.register(ApiKey)
class ApiKeyAdmin(ModelAdmin):
    """Keys: made here, shown once, revoked for good, never changed."""

    icon: ClassVar[str] = "key"
    list_display = (
        "name",
        "prefix",
        "owner",
        "shown_state",
        "shown_scopes",
        "created_at",
        "last_used_at",
        "expires_at",
    )
    list_filter = ("owner", "created_at")
    search_fields = ("name", "prefix", "owner__name")
    list_select_related = ("owner",)
    autocomplete_fields = ("owner",)
    actions = ("revoke",)
    form = ApiKeyForm
    readonly_fields = ("prefix", "shown_state", "created_at", "last_used_at")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        """Ask for what a new key needs; show all that is kept of an old one."""
        asked = ApiKeyForm.Meta.fields
        return (*asked, "announces") if obj is None else (*asked, *self.readonly_fields)

    @display(description="scopes")
    def shown_scopes(self, key: ApiKey) -> str:
        """Name what the key may do."""
        return shown_list(key.scopes, empty="the full API")

    @display(description="state", label=_STATE_COLOURS)
    def shown_state(self, key: ApiKey) -> str:
        """Show whether the key works."""
        return key.state

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a key: revoke it and make another."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes a key: its row says who had access, and when."""
        return False

    def has_revoke_permission(self, request: HttpRequest) -> bool:
        """Whoever may change keys in general may revoke them."""
        return request.user.has_perm("octollm.change_apikey")

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: Any
    ) -> None:
        """Make the key; the token stays with this request, for its answer."""
        key, token = make_key(
            obj.owner, name=obj.name, scopes=obj.scopes, expires_at=obj.expires_at
        )
        obj.pk, obj.prefix = key.pk, key.prefix
        request.META["OCTOLLM_NEW_TOKEN"] = token

    def response_add(
        self, request: HttpRequest, obj: ApiKey, post_url_continue: str | None = None
    ) -> HttpResponse:
        """Show the token in this answer and nowhere else.

        Not as a message: those are kept in a cookie or in the session's row.
        """
        context = {
            **self.admin_site.each_context(request),
            "title": "The new API key",
            "opts": self.opts,
            "key": obj,
            "token": request.META.pop("OCTOLLM_NEW_TOKEN"),
        }
        response = TemplateResponse(request, "admin/api_key_made.html", context)
        response["Cache-Control"] = "no-store"
        return response

    @admin.action(description="Revoke selected keys", permissions=["revoke"])
    def revoke(
        self, request: HttpRequest, queryset: QuerySet[ApiKey]
    ) -> HttpResponse | None:
        """Ask for confirmation, then revoke."""
        if request.POST.get("confirmed"):
            count = revoke_keys([key.pk for key in queryset])
            self.message_user(request, f"{count} revoked.")
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": "Revoke these keys for good?",
            "opts": self.opts,
            "keys": queryset.select_related("owner"),
            "action_checkbox_name": admin.helpers.ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/api_keys_revoke.html", context)


@admin.register(Worker)
class WorkerAdmin(ReadOnlyAdmin):
    """Worker processes by their heartbeats."""

    icon: ClassVar[str] = "memory"
    list_display = (
        "hostname",
        "pid",
        "shown_queues",
        "threads",
        "started_at",
        "heartbeat_at",
        "stopping_at",
    )
    list_filter = ("hostname",)

    @display(description="queues")
    def shown_queues(self, worker: Worker) -> str:
        """Name the queues that the process serves."""
        return shown_list(worker.queues)


@admin.register(Leader)
class LeaderAdmin(ReadOnlyAdmin):
    """Which process carries out which duty."""

    icon: ClassVar[str] = "flag"
    list_display = ("name", "holder", "until")


@admin.register(Breaker)
class BreakerAdmin(ReadOnlyAdmin):
    """What outside may be asked; what never failed has no row."""

    icon: ClassVar[str] = "electrical_services"
    list_display = (
        "name",
        "shown_state",
        "failures",
        "window_until",
        "open_until",
        "retry_at",
        "updated_at",
    )
    list_filter = ("state",)
    search_fields = ("name",)
    fields = (
        ("name", "shown_state"),
        ("failures", "window_until"),
        ("open_until", "retry_at"),
        "updated_at",
    )

    @display(description="state", ordering="state", label=_BREAKER_COLOURS)
    def shown_state(self, breaker: Breaker) -> str:
        """Show the state as a coloured label with its word."""
        return breaker.state


@admin.register(User)
class UserAdmin(DjangoUserAdmin[User], ModelAdmin):  # type: ignore[misc] # unfold's way
    """Accounts, in the admin's own look."""

    icon: ClassVar[str] = "person"
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(DjangoGroupAdmin, ModelAdmin):  # type: ignore[misc] # unfold's way
    """Groups, in the admin's own look."""

    icon: ClassVar[str] = "group"
