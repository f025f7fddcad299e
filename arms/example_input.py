"""An example of what a JSON schema describes: small, and made the same every time."""

from __future__ import annotations

from typing import Any

from jsonschema import Draft202012Validator

from octollm.types import JSONObject

MAX_DEPTH = 12
_WORDS = "The delivery was quick and the support was friendly."


def example_of(schema: JSONObject) -> JSONObject | None:
    """Return an object that fits the schema, or nothing if none was found."""
    made = _value(schema, schema, 0)
    fits = Draft202012Validator(schema).is_valid(made)
    return made if isinstance(made, dict) and fits else None


def misfit_of(schema: JSONObject) -> JSONObject | None:
    """Return an object that does not fit the schema, or nothing if all seem to."""
    properties = schema.get("properties")
    named = list(properties) if isinstance(properties, dict) else []
    number = 7
    tried: list[JSONObject] = [{name: [[{"unlikely": number}]]} for name in named]
    tried += [{}, {"a_field_nobody_knows": number}]
    validator = Draft202012Validator(schema)
    return next((each for each in tried if not validator.is_valid(each)), None)


def _value(schema: Any, root: JSONObject, depth: int) -> Any:
    if not isinstance(schema, dict) or depth > MAX_DEPTH:
        return None
    told = [schema[name] for name in ("const", "default") if name in schema]
    told += [schema[name][0] for name in ("examples", "enum") if schema.get(name)]
    if told:
        return told[0]
    if "$ref" in schema:
        return _value(_referred(schema["$ref"], root), root, depth + 1)
    branching = [name for name in ("oneOf", "anyOf", "allOf") if schema.get(name)]
    if branching:
        return _branch(schema, branching[0], root, depth)
    return _typed(schema, root, depth)


def _branch(schema: JSONObject, name: str, root: JSONObject, depth: int) -> Any:
    """Return an example of a schema with its first branch, or all, laid over it."""
    branches: Any = schema[name]
    chosen = branches if name == "allOf" else branches[:1]
    merged: JSONObject = {key: value for key, value in schema.items() if key != name}
    for branch in chosen:
        if isinstance(branch, dict):
            merged |= branch
    return _value(merged, root, depth + 1)


def _referred(reference: str, root: JSONObject) -> Any:
    """Return what a reference within the schema means."""
    found: Any = root
    for part in reference.removeprefix("#").strip("/").split("/"):
        name = part.replace("~1", "/").replace("~0", "~")
        found = found.get(name) if isinstance(found, dict) and name else found
    return found


def _typed(schema: JSONObject, root: JSONObject, depth: int) -> Any:
    kind: Any = schema.get("type")
    kind = kind[0] if isinstance(kind, list) and kind else kind
    if kind is None:
        kind = "object" if "properties" in schema else "string"
    makers = {"object": _object, "array": _array}
    if kind in makers:
        return makers[kind](schema, root, depth)
    simple: dict[str, Any] = {"boolean": True, "null": None}
    if kind in ("integer", "number"):
        return _number(schema)
    return simple[kind] if kind in simple else _text(schema)


def _object(schema: JSONObject, root: JSONObject, depth: int) -> JSONObject:
    properties, required = schema.get("properties"), schema.get("required")
    described = properties if isinstance(properties, dict) else {}
    names = [str(name) for name in required] if isinstance(required, list) else []
    return {
        name: _value(described.get(name, {"type": "string"}), root, depth + 1)
        for name in names
    }


def _array(schema: JSONObject, root: JSONObject, depth: int) -> list[Any]:
    least: Any = schema.get("minItems", 1)
    items = schema.get("items", {"type": "string"})
    return [_value(items, root, depth + 1) for _ in range(min(max(least, 1), 100))]


def _number(schema: JSONObject) -> Any:
    least: Any = schema.get("minimum", schema.get("exclusiveMinimum"))
    most: Any = schema.get("maximum", schema.get("exclusiveMaximum"))
    if "exclusiveMinimum" in schema:
        is_whole = schema.get("type") == "integer" or most is None
        return least + 1 if is_whole else (least + most) / 2
    if least is not None:
        return least
    return 1 if most is None else min(1, most)


def _text(schema: JSONObject) -> str:
    least: Any = schema.get("minLength", 0)
    most: Any = schema.get("maxLength", 10_000)
    text = _FORMATS.get(str(schema.get("format")), _WORDS)
    while len(text) < min(least, 10_000):
        text = f"{text} {text}"
    return text[:most]


_FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "uri": "https://example.org/",
    "uuid": "00000000-0000-4000-8000-000000000001",
}
