"""The page of arms: what each can do, how it is, and what an operator says of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

from django import forms
from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.forms import PaginationInlineFormSet
from unfold.views import ChangeList
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
)

from arms import operating, remote
from arms.admin import shown
from arms.admin.instances import InstanceColumns
from arms.overview import aggregate, through
from arms.registry import TAKES_STEPS
from arms.registry_models import NOBODY, ArmInstance, RegisteredArm
from arms.standing import CLOSED, breakers_of
from octollm.history import ReadOnlyInline, link_to, shown_json, shown_list


class ArmForm(forms.ModelForm[RegisteredArm]):
    """What an operator says of an arm."""

    may_see = forms.MultipleChoiceField(
        required=False,
        widget=UnfoldAdminCheckboxSelectMultipleWidget,
        help_text="Types of personal data that it gets in plain text where it runs "
        "elsewhere. Others stay placeholders.",
    )

    stand_in = forms.ChoiceField(
        label="Fallback",
        required=False,
        widget=UnfoldAdminSelectWidget,
        help_text="The arm that does its steps while no instance of it can be had, if "
        "it has the capability.",
    )

    class Meta:
        """Name the fields."""

        model = RegisteredArm
        fields = ("limit", "may_see", "stand_in")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the types that the arm asks for."""
        super().__init__(*args, **kwargs)
        chosen = self.fields.get("stand_in")
        if isinstance(chosen, forms.ChoiceField):
            chosen.choices = list(_stand_ins(self.instance))
        field = self.fields.get("may_see")
        if isinstance(field, forms.MultipleChoiceField):
            # One that it asked for earlier can still be taken away.
            known = sorted({*self.instance.sees, *self.instance.may_see})
            field.choices = [(each, each) for each in known]


def _stand_ins(arm: RegisteredArm) -> Iterator[tuple[str, str]]:
    yield "", f"as the arm says: {arm.fallback or 'none'}"
    yield NOBODY, "none"
    others = RegisteredArm.objects.exclude(pk=arm.pk)
    for name in others.values_list("name", flat=True):
        yield name, name


class ArmChangeList(ChangeList):
    """A page of arms with the breakers of their instances."""

    def get_results(self, request: HttpRequest) -> None:
        """Look the breakers of the whole page up at once."""
        super().get_results(request)
        self.result_list: Any = list(self.result_list)
        _look_at(self.result_list)


def _look_at(arms: Iterable[Any]) -> None:
    """Give each arm the states of its instances behind their breakers."""
    known = list(arms)
    rows = {arm.pk: list(arm.instances.all()) for arm in known}
    breakers = breakers_of(row for each in rows.values() for row in each)
    for arm in known:
        arm.states = [
            through(breakers.get(row.pk, CLOSED), row.state)[0] for row in rows[arm.pk]
        ]


class InstanceFormSet(PaginationInlineFormSet):
    """The instances of an arm with how they stand."""

    _looked_at: Any = None

    def get_queryset(self) -> Any:
        """Look them all up at once."""
        if self._looked_at is None:
            self._looked_at = super().get_queryset()
            shown.look_at(self._looked_at)
        return self._looked_at


class InstanceInline(InstanceColumns, ReadOnlyInline):  # type: ignore[misc]  # unfold's
    """Where an arm runs."""

    model = ArmInstance
    formset = InstanceFormSet
    fields = (
        *("link", "pill", "strip", "weight", "latency", "breaker", "places"),
        *("detail", "checked_at"),
    )
    readonly_fields = fields

    @display(description="Where")
    def link(self, row: ArmInstance) -> SafeString:
        """Link to the instance."""
        return link_to(row, row.location)


@admin.register(RegisteredArm)
class RegisteredArmAdmin(ModelAdmin):
    """The catalogue with each arm's health, limit and what it may see."""

    icon: ClassVar[str] = "precision_manufacturing"
    form = ArmForm
    list_per_page = 50
    list_filter_submit = True
    list_display = (
        *("name", "version", "health", "well", "abilities", "places", "has_store"),
        *("queue", "updated_at"),
    )
    list_filter = ("queue", "instances__state")
    search_fields = ("name", "description")
    inlines = (InstanceInline,)
    readonly_fields = (
        *("name", "version", "health", "description", "abilities", "sees_"),
        *("is_repeatable", "has_store", "shares_store", "concurrency", "queue"),
        *("grants_", "updated_at"),
    )
    fields = (
        ("name", "version"),
        ("health", "queue"),
        *("description", "abilities"),
        ("limit", "concurrency"),
        ("may_see", "sees_"),
        ("stand_in", "grants_"),
        ("is_repeatable", "has_store", "shares_store"),
        "updated_at",
    )

    def get_queryset(self, request: HttpRequest) -> QuerySet[RegisteredArm]:
        """Fetch the instances along."""
        rows: QuerySet[RegisteredArm] = super().get_queryset(request)
        return rows.prefetch_related("instances")

    def get_changelist(  # type: ignore[override]  # unfold names an object
        self, request: HttpRequest, **kwargs: Any
    ) -> type[ChangeList]:
        """Return the list that looks a page up at once."""
        return ArmChangeList

    def get_object(
        self, request: HttpRequest, object_id: str, from_field: str | None = None
    ) -> Any:
        """Return an arm with how its instances are."""
        arm = super().get_object(request, object_id, from_field)
        if arm is not None:
            _look_at([arm])
        return arm

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Leave to the settings what they say of an arm."""
        is_named = obj is not None and remote.is_named(obj.name)
        return (*self.readonly_fields, *(("may_see",) if is_named else ()))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """An arm comes with its first instance."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes an arm: steps name it."""
        return False

    def save_model(
        self, request: HttpRequest, obj: Any, form: Any, change: Any
    ) -> None:
        """Write what was changed and nothing else: workers write the rest."""
        by = request.user.get_username()
        if "limit" in form.changed_data:
            operating.set_limit(obj.pk, form.cleaned_data["limit"], by=by)
        if "stand_in" in form.changed_data:
            operating.set_stand_in(obj.pk, form.cleaned_data["stand_in"], by=by)
        if "may_see" in form.changed_data:
            operating.set_may_see(obj.pk, form.cleaned_data["may_see"], by=by)

    @display(description="Health", label=shown.COLOURS)
    def health(self, arm: Any) -> str:
        """Show how its instances are altogether."""
        return aggregate(arm.states)

    @display(description="Instances that take steps")
    def well(self, arm: Any) -> str:
        """Count the instances that take steps."""
        count = sum(state in TAKES_STEPS for state in arm.states)
        return f"{count} of {len(arm.states)}"

    @display(description="At once, each")
    def places(self, arm: RegisteredArm) -> str:
        """Show how many steps each instance takes at once."""
        return str(arm.places or "no limit")

    @display(description="Capabilities")
    def abilities(self, arm: RegisteredArm) -> str:
        """Name what the arm can do."""
        return ", ".join(str(each.get("name", "")) for each in arm.capabilities)

    @display(description="Asks to see")
    def sees_(self, arm: RegisteredArm) -> str:
        """Name the types of personal data that the arm asks for."""
        return shown_list(arm.sees, empty="nothing")

    @display(description="Grants")
    def grants_(self, arm: RegisteredArm) -> SafeString | str:
        """Show what its steps may ask for."""
        return shown_json(arm.grants) if arm.grants else "none"
