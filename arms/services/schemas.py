"""Short words for the JSON schemas in which arms describe inputs and outputs."""

from __future__ import annotations

from octollm.types import JSONObject, JSONValue


def text(description: str = "") -> JSONObject:
    """Return the schema of a string."""
    return _described({"type": "string"}, description)


def number(
    description: str = "",
    *,
    minimum: float | None = None,
    maximum: float | None = None,
) -> JSONObject:
    """Return the schema of a number within bounds that include their ends."""
    schema: JSONObject = {"type": "number"}
    if minimum is not None:
        schema["minimum"] = minimum
    if maximum is not None:
        schema["maximum"] = maximum
    return _described(schema, description)


def count(description: str = "", *, minimum: int = 0) -> JSONObject:
    """Return the schema of a whole number."""
    return _described({"type": "integer", "minimum": minimum}, description)


def boolean(description: str = "") -> JSONObject:
    """Return the schema of a truth value."""
    return _described({"type": "boolean"}, description)


def array(items: JSONObject, description: str = "") -> JSONObject:
    """Return the schema of a list whose members fit ``items``."""
    return _described({"type": "array", "items": items}, description)


def one_of(choices: tuple[str, ...], description: str = "") -> JSONObject:
    """Return the schema of a string out of a fixed set."""
    return _described({"type": "string", "enum": list(choices)}, description)


def mapping(values: JSONObject, description: str = "") -> JSONObject:
    """Return the schema of an object with any keys and values that fit ``values``."""
    schema: JSONObject = {"type": "object", "additionalProperties": values}
    return _described(schema, description)


def anything(description: str = "") -> JSONObject:
    """Return the schema that every value fits."""
    return _described({}, description)


def record(
    properties: dict[str, JSONObject],
    *,
    required: tuple[str, ...] = (),
    description: str = "",
) -> JSONObject:
    """Return the schema of an object with these keys and no others."""
    shown: dict[str, JSONValue] = dict(properties)
    schema: JSONObject = {
        "type": "object",
        "properties": shown,
        "required": list(required),
        "additionalProperties": False,
    }
    return _described(schema, description)


def _described(schema: JSONObject, description: str) -> JSONObject:
    """Add the description if there is one."""
    return schema | {"description": description} if description else schema
