"""Fields of the public API that say more than those of the framework."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers


class TextField(serializers.CharField):
    """A string, kept as it was written, that says something."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "not_text": "Must be a string.",
    }

    def __init__(self, **kwargs: Any) -> None:
        """Keep white space: it is the caller's."""
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        """Refuse what is no string, and strings that are blank."""
        if not isinstance(data, str):
            self.fail("not_text")
        if not data.strip():
            self.fail("blank")
        return str(super().to_internal_value(data))


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObjectField(serializers.JSONField):
    """A JSON object of bounded size, counted in characters of compact JSON."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "not_object": "Must be a JSON object.",
        "too_long": "Must be at most {limit} characters of JSON.",
    }

    def __init__(self, *, limit: int, **kwargs: Any) -> None:
        """Bound the field to ``limit`` characters."""
        self._limit = limit
        super().__init__(**kwargs)

    def to_internal_value(self, data: Any) -> Any:
        """Refuse other JSON than an object, and large ones."""
        if not isinstance(data, dict):
            self.fail("not_object")
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        if len(text) > self._limit:
            self.fail("too_long", limit=self._limit)
        return data


class MomentField(serializers.DateTimeField):
    """A moment that PostgreSQL can hold, too."""

    def to_internal_value(self, value: Any) -> datetime:
        """Refuse what leaves the calendar when it is turned into UTC."""
        moment = super().to_internal_value(value)
        try:
            return moment.astimezone(UTC)
        except OverflowError:
            self.fail("invalid", format="ISO 8601")
