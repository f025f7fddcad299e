"""Serializers that ignore nothing: a field they do not know is an error."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.settings import api_settings

# A name of this form, with no long run of digits, is no personal data, so an error
# may repeat it. Other names are told by their position.
_PLAIN_NAME = re.compile(r"(?!.*[0-9]{4})[a-z][a-z0-9_]{0,39}", re.ASCII)


def is_plain_name(name: object) -> bool:
    """Say whether a name that the caller sent may be repeated to them."""
    return isinstance(name, str) and _PLAIN_NAME.fullmatch(name) is not None


class StrictSerializer(serializers.Serializer[Any]):
    """A serializer that refuses fields it does not know, by name.

    Attributes:
        unsupported_fields: names that the public API has but that are not built
            yet; they are refused as ``unsupported_field``, others as
            ``unknown_field``.
        ignored_fields: names that our own answers carry beside what is read, so
            that an answer can be sent back as it is.
    """

    unsupported_fields: ClassVar[frozenset[str]] = frozenset()
    ignored_fields: ClassVar[frozenset[str]] = frozenset()

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Let a refused choice list what may be chosen, not what was sent."""
        fields = super().get_fields()
        for field in fields.values():
            if isinstance(field, serializers.ChoiceField):
                choices = ", ".join(str(choice) for choice in field.choices)
                field.error_messages["invalid_choice"] = f"Must be one of: {choices}."
        return fields

    def to_internal_value(self, data: Any) -> Any:
        """Return the validated values.

        Raises:
            ValidationError: naming every fault at once.
        """
        strangers = self._strangers(data) if isinstance(data, Mapping) else {}
        try:
            values = super().to_internal_value(data)
        except ValidationError as error:
            if strangers and isinstance(error.detail, dict):
                raise ValidationError(_merged(error.detail, strangers)) from error
            raise
        if strangers:
            raise ValidationError(strangers)
        return values

    def _strangers(self, data: Mapping[Any, Any]) -> dict[str, list[ErrorDetail]]:
        known = {field.field_name for field in self._writable_fields}
        known |= self.ignored_fields
        faults: dict[str, list[ErrorDetail]] = {}
        for position, name in enumerate(data, start=1):
            if name not in known:
                place, fault = self._fault(name, position)
                faults.setdefault(place, []).append(fault)
        return faults

    def _fault(self, name: str, position: int) -> tuple[str, ErrorDetail]:
        if name in self.unsupported_fields:
            return name, ErrorDetail(
                "This field is not supported yet.", "unsupported_field"
            )
        if is_plain_name(name):
            return name, ErrorDetail("This field is not known.", "unknown_field")
        return api_settings.NON_FIELD_ERRORS_KEY, ErrorDetail(
            f"Field number {position} here is not known; its name is not repeated.",
            "unknown_field",
        )


def _merged(
    first: Mapping[str, Any], second: Mapping[str, Iterable[ErrorDetail]]
) -> dict[str, Any]:
    both = dict(first)
    for name, faults in second.items():
        both[name] = [*both.get(name, []), *faults]
    return both


class NothingSerializer(StrictSerializer):
    """A query or a body of an address that takes none; ``format`` chooses the renderer."""

    format = serializers.CharField(required=False)


def query_of(
    request: Request, serializer: type[StrictSerializer] = NothingSerializer
) -> dict[str, Any]:
    """Return the validated query parameters.

    Raises:
        ValidationError: one is not known, not supported yet, or not valid.
    """
    query = serializer(data=request.query_params)
    query.is_valid(raise_exception=True)
    values: dict[str, Any] = query.validated_data
    return values


def refuse_body(request: Request) -> None:
    """Refuse a body where none is read.

    Raises:
        ValidationError: it holds fields.
    """
    NothingSerializer(data=request.data).is_valid(raise_exception=True)
