"""Type aliases that every package shares."""

from __future__ import annotations

from typing import TypeAlias

from pydantic import JsonValue

JSONScalar: TypeAlias = str | int | float | bool | None
# Pydantic's own, because its models cannot resolve an alias that names itself.
JSONValue: TypeAlias = JsonValue
JSONObject: TypeAlias = dict[str, JSONValue]
