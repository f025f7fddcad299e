"""Whether a JSON value fits the simple part of a JSON schema: pure, no network.

Understands type, enum, properties, required, additionalProperties, items, minimum
and maximum. Keywords it does not know let a value pass: the arm checks its input
itself, this only finds what can be said before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from octollm.types import JSONValue
from planner.plan import reference_path

# A concealed value stands for one of any type; its type is known where it is revealed.
PLACEHOLDER = re.compile(r"\[[A-Z][A-Z_]*_K?[1-9][0-9]*\]")

# Of a key that somebody else wrote, this much is quoted.
_MAX_KEY = 60
_TYPES: Mapping[str, tuple[type, ...]] = {
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "array": (list,),
    "object": (dict,),
    "null": (type(None),),
}


def misfit(value: JSONValue, schema: Mapping[str, Any], path: str) -> str | None:
    """Return what is wrong with ``value``, naming its place, or nothing.

    References and placeholders pass: what they stand for is not known yet.
    """
    if _is_deferred(value):
        return None
    types = types_of(schema)
    if types and not any(_is_of(value, name) for name in types):
        return f"{path} must be {' or '.join(sorted(types))}, not {name_of(value)}"
    choices = schema.get("enum")
    if isinstance(choices, list) and value not in choices:
        return f"{path} must be one of {', '.join(map(str, choices))}"
    return _misfit_inside(value, schema, path)


def types_of(schema: Mapping[str, Any]) -> frozenset[str]:
    """Return the type names that a schema allows; none means any."""
    types = schema.get("type")
    if isinstance(types, str):
        return frozenset((types,))
    return frozenset(types) if isinstance(types, list) else frozenset()


def can_flow(given: Mapping[str, Any], wanted: Mapping[str, Any]) -> bool:
    """Tell whether a value of one schema may fit another, by types and list items."""
    have, want = types_of(given), types_of(wanted)
    if "number" in want:
        want |= {"integer"}
    if not have or not want:
        return True
    shared = have & want
    if shared == {"array"}:
        return can_flow(_mapping(given.get("items")), _mapping(wanted.get("items")))
    return bool(shared)


def type_name(schema: Mapping[str, Any]) -> str:
    """Return the types that a schema allows, in words: "array of string"."""
    name = " or ".join(sorted(types_of(schema))) or "anything"
    items = _mapping(schema.get("items"))
    return f"{name} of {type_name(items)}" if name == "array" and items else name


def member(schema: Mapping[str, Any], key: str) -> Mapping[str, Any] | None:
    """Return the schema of one member of an object or list.

    An empty schema stands for a member of unknown shape, ``None`` for one that the
    schema rules out.
    """
    properties = schema.get("properties")
    if isinstance(properties, dict) and key in properties:
        return _mapping(properties[key])
    if "array" in types_of(schema):
        return _mapping(schema.get("items")) if key.isdecimal() else None
    further = schema.get("additionalProperties", not properties)
    if further is False or types_of(schema) - {"object"}:
        return None
    return _mapping(further)


def name_of(value: JSONValue) -> str:
    """Return the name of a value's JSON type."""
    return next(name for name in _TYPES if _is_of(value, name))


def _is_deferred(value: JSONValue) -> bool:
    if isinstance(value, str):
        return PLACEHOLDER.fullmatch(value) is not None
    return reference_path(value) is not None


def _misfit_inside(
    value: JSONValue, schema: Mapping[str, Any], path: str
) -> str | None:
    if isinstance(value, dict):
        return _misfit_of_object(value, schema, path)
    if isinstance(value, list):
        return _misfit_of_list(value, schema, path)
    return _misfit_of_number(value, schema, path)


def _is_of(value: JSONValue, name: str) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if name == "integer" and isinstance(value, float):
        return value.is_integer()
    return isinstance(value, _TYPES.get(name, (object,)))


def _mapping(schema: Any) -> Mapping[str, Any]:
    return schema if isinstance(schema, Mapping) else {}


def _misfit_of_object(
    value: dict[str, JSONValue], schema: Mapping[str, Any], path: str
) -> str | None:
    for key in schema.get("required", ()):
        if key not in value:
            return f"{path} lacks “{key}”"
    for key, entry in value.items():
        inner = member(schema, key)
        if inner is None:
            return f"{path} has an unknown key “{key[:_MAX_KEY]}”"
        found = misfit(entry, inner, f"{path}.{key[:_MAX_KEY]}")
        if found:
            return found
    return None


def _misfit_of_list(
    value: list[JSONValue], schema: Mapping[str, Any], path: str
) -> str | None:
    items = _mapping(schema.get("items"))
    if not items:
        return None
    found = (misfit(entry, items, f"{path}.{i}") for i, entry in enumerate(value))
    return next((problem for problem in found if problem), None)


def _misfit_of_number(
    value: JSONValue, schema: Mapping[str, Any], path: str
) -> str | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is not None and value < low:
        return f"{path} must be at least {low}"
    if high is not None and value > high:
        return f"{path} must be at most {high}"
    return None
