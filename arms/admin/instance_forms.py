"""What is asked of an operator for a new instance, and for one that is there."""

from __future__ import annotations

from typing import Any

from django import forms
from unfold.widgets import (
    UnfoldAdminIntegerFieldWidget,
    UnfoldAdminPasswordWidget,
    UnfoldAdminTextInputWidget,
)

from arms.entries import NAME
from arms.providers import plain_key, plain_url
from arms.registry_models import ArmInstance


def _token_field(help_text: str) -> forms.CharField:
    # Not named as the model's field, which no form may show.
    return forms.CharField(
        label="Token",
        required=False,
        strip=True,
        max_length=4_096,
        # What was typed does not come back with a page that shows a mistake.
        widget=UnfoldAdminPasswordWidget(
            render_value=False, attrs={"autocomplete": "new-password"}
        ),
        help_text=help_text,
    )


class InstanceForm(forms.ModelForm[ArmInstance]):
    """What can be changed of an instance: all else follows from its state."""

    secret = _token_field("Write-only. Empty: the one it has stays.")

    class Meta:
        """Name the fields."""

        model = ArmInstance
        fields = ("weight",)
        widgets = {"weight": UnfoldAdminIntegerFieldWidget}

    def clean_secret(self) -> str:
        """Refuse what cannot stand in a header."""
        return _plain(self.cleaned_data["secret"], plain_key)


class NewInstanceForm(InstanceForm):
    """An instance entered by hand."""

    name = forms.RegexField(
        regex=NAME,
        label="Arm",
        widget=UnfoldAdminTextInputWidget,
        help_text="As the arm calls itself in its entry, such as billing.",
    )
    url = forms.CharField(
        label="URL",
        max_length=500,
        widget=UnfoldAdminTextInputWidget,
        help_text="Where workers reach it, such as http://billing.internal:8090.",
    )
    secret = _token_field("Write-only: what callers must show. Empty: nothing.")

    field_order = ("name", "url", "secret", "weight")

    def clean_url(self) -> str:
        """Refuse what is no plain address; write it as all rows do."""
        return _plain(self.cleaned_data["url"], plain_url).rstrip("/")

    def clean(self) -> dict[str, Any]:
        """Refuse a place that is entered already."""
        given = super().clean() or self.cleaned_data
        place = {"arm_id": given.get("name"), "location": given.get("url")}
        if ArmInstance.objects.filter(**place).exists():
            raise forms.ValidationError("This instance is entered already.")
        return given


def _plain(text: str, refuse: Any) -> str:
    if not text:
        return ""
    try:
        return str(refuse(text))
    except ValueError as error:
        raise forms.ValidationError(f"It {error}.") from None
