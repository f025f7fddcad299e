"""Values against JSON schemas that nobody has to trust.

The library does the work. Around it stands what a hostile schema could use: patterns
run on RE2, which does not backtrack; references stay within the schema, so nothing is
fetched; every keyword asks whether to go on, so references that multiply end with the
deadline.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

from jsonschema import FormatChecker
from jsonschema.exceptions import SchemaError, UnknownType, ValidationError
from jsonschema.validators import (
    Draft3Validator,
    Draft4Validator,
    Draft202012Validator,
    extend,
    validator_for,
)
from referencing.exceptions import Unresolvable
from referencing.jsonschema import EMPTY_REGISTRY

from arms.services.analyst.concealing import cut
from arms.services.analyst.json_values import type_name
from arms.services.analyst.terms import compiled_pattern
from arms.services.analyst.texts import Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

MAX_SCHEMA = 200_000
MAX_DATA = 2_000_000
#: Further errors are not counted.
MAX_ERRORS = 10_000
_LONGEST_MESSAGE = 300
_STEPS_BETWEEN_CHECKS = 500
_REFERENCES = ("$ref", "$dynamicRef", "$recursiveRef")
_NEWEST: Any = Draft202012Validator
# What a reference to a part that nobody took for a schema raises, of any keyword.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    UnknownType,
    ValueError,
)
_Keyword = Callable[[Any, Any, Any, Any], Iterator[ValidationError] | None]


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """What does not fit: where, by which keyword, in words."""

    path: str
    message: str
    rule: str


@dataclass(frozen=True, kw_only=True)
class Checked:
    """The errors, at most 10,000, and the version of JSON schema that was used."""

    errors: tuple[Misfit, ...]
    dialect: str


def validate(data: JSONValue, schema: JSONValue, *, check: Check) -> Checked:
    """Return what in ``data`` does not fit ``schema``, in the schema's order.

    Raises:
        ArmInputError: the schema is none, or has what is not allowed here.
    """
    if isinstance(schema, bool):
        schema = {} if schema else {"not": {}}
    if not isinstance(schema, dict):
        raise ArmInputError("“schema” must be an object.")
    base = _dialect(schema)
    own = _own_parts(schema, old=base in (Draft3Validator, Draft4Validator))
    try:
        base.check_schema(own, format_checker=FormatChecker(formats=()))
        validator = _guarded(base, check)(own, registry=EMPTY_REGISTRY)
        found = islice(validator.iter_errors(data), MAX_ERRORS)
        errors = tuple(_misfit(error) for error in found)
    except SchemaError as error:
        place = ".".join(map(str, error.absolute_path)) or "its root"
        message = cut(error.message, most=_LONGEST_MESSAGE)
        raise ArmInputError(f"“schema” is no schema at {place}: {message}.") from error
    except Unresolvable as error:
        raise ArmInputError("“schema” refers to a part that it lacks.") from error
    except RecursionError as error:
        raise ArmInputError(
            "“schema” refers to itself without end, or is nested too deep."
        ) from error
    except _BROKEN as error:
        raise ArmInputError("“schema” refers to a part that is no schema.") from error
    return Checked(errors=errors, dialect=base.__name__.removesuffix("Validator"))


def _misfit(error: ValidationError) -> Misfit:
    rule = str(error.validator or "false")
    return Misfit(
        path=_path(error),
        message=cut(_message(error, rule), most=_LONGEST_MESSAGE),
        rule=rule,
    )


def _path(error: ValidationError) -> str:
    parts = (
        f"[{part}]" if isinstance(part, int) else f".{part}"
        for part in error.absolute_path
    )
    return cut("".join(parts).removeprefix("."), most=_LONGEST_MESSAGE)


def _message(error: ValidationError, rule: str) -> str:
    """Say what is wrong without repeating values, which may be long."""
    wanted = error.validator_value
    if rule in ("required", "additionalProperties", "dependentRequired"):
        return error.message
    shown = json.dumps(wanted, ensure_ascii=False)[:_LONGEST_MESSAGE]
    if isinstance(wanted, dict | list) and rule not in ("enum", "type", "const"):
        return f"A value of type {type_name(error.instance)} does not fit “{rule}”."
    return f"A value of type {type_name(error.instance)} breaks {rule}: {shown}."


def _dialect(schema: JSONObject) -> Any:
    """Return the version of JSON schema that a schema names, the newest if none.

    Raises:
        ArmInputError: it names one that is not known.
    """
    name = schema.get("$schema", _NEWEST.META_SCHEMA["$schema"])
    known = (
        validator_for({"$schema": name}, default=_NEWEST)
        if isinstance(name, str)
        else _NEWEST
    )
    if str(known.META_SCHEMA["$schema"]).rstrip("#") != str(name).rstrip("#"):
        raise ArmInputError("“schema” names a version of JSON schema that is unknown.")
    return known


def _own_parts(schema: JSONObject, *, old: bool) -> JSONObject:
    """Return the schema without its own name, if all of it can be checked here.

    A part with a name or version of its own would be taken for another schema, and
    that one would be checked without the guards. In ``old`` versions “id” is a name.

    Raises:
        ArmInputError: it refers to other schemas, or has names within.
    """
    names = ("$schema", "$id", "id") if old else ("$schema", "$id")
    own = {
        key: value
        for key, value in schema.items()
        if key not in names or not isinstance(value, str)
    }
    keys: set[str] = set()
    stack: list[JSONValue] = [own]
    while stack:
        part = stack.pop()
        if isinstance(part, list):
            stack += part
        elif isinstance(part, dict):
            keys |= part.keys()
            stack += part.values()
            _refuse_foreign(part, names)
    if {"unevaluatedProperties", "patternProperties"} <= keys:
        raise ArmInputError(
            "“schema” has both unevaluatedProperties and patternProperties, which "
            "cannot be checked together here."
        )
    return own


def _refuse_foreign(part: JSONObject, names: Sequence[str]) -> None:
    for name in names:
        if isinstance(part.get(name), str):
            raise ArmInputError(
                f"Only the root of “schema” may have a “{name}” that is a text."
            )
    for name in _REFERENCES:
        target = part.get(name)
        if isinstance(target, str) and not target.startswith("#"):
            raise ArmInputError(
                "“schema” may refer only to its own parts, such as #/$defs/name; "
                "nothing is fetched."
            )


def _guarded(base: Any, check: Check) -> Any:
    """Return the library's validator with guards around every keyword."""
    steps = 0

    def guard(keyword: _Keyword) -> _Keyword:
        def guarded(
            validator: Any, value: Any, instance: Any, schema: Any
        ) -> Iterator[ValidationError]:
            nonlocal steps
            steps += 1
            if steps % _STEPS_BETWEEN_CHECKS == 1:
                check()
            yield from keyword(validator, value, instance, schema) or ()

        return guarded

    keywords = {**base.VALIDATORS, **_SAFE}
    known = {name: keywords[name] for name in keywords if name in base.VALIDATORS}
    guards = {name: guard(known[name]) for name in known}
    return extend(base, guards)  # type: ignore[no-untyped-call]  # the library's own


@cache
def _searcher(pattern: str) -> Callable[[str], object]:
    search: Callable[[str], object] = compiled_pattern(pattern).search
    return search


def _pattern(
    validator: Any, pattern: str, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if isinstance(instance, str) and not _searcher(pattern)(instance):
        yield ValidationError("It does not match.")


def _pattern_properties(
    validator: Any, patterns: Mapping[str, Any], instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    for pattern, part in patterns.items():
        for key, value in instance.items():
            if _searcher(pattern)(key):
                yield from validator.descend(value, part, path=key, schema_path=pattern)


def _additional_properties(
    validator: Any, part: Any, instance: Any, schema: Any
) -> Iterator[ValidationError]:
    if not isinstance(instance, dict):
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    further = [
        key
        for key in instance
        if key not in known and not any(_searcher(each)(key) for each in patterns)
    ]
    if part is False and further:
        shown = ", ".join(f"“{key}”" for key in further[:5])
        yield ValidationError(f"{len(further)} keys are not allowed: {shown}.")
        return
    for key in further:
        yield from validator.descend(instance[key], part, path=key)


def _unique_items(
    _validator: Any, is_wanted: Any, instance: Any, _schema: Any
) -> Iterator[ValidationError]:
    """Compare by written form; the library's way takes quadratic time."""
    if is_wanted and isinstance(instance, list):
        forms = {json.dumps(_plain(each), sort_keys=True) for each in instance}
        if len(forms) < len(instance):
            yield ValidationError("Members repeat.")


def _plain(value: JSONValue) -> JSONValue:
    """Return a value in which 1.0 is written as 1: JSON schema takes them for equal."""
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list):
        return [_plain(member) for member in value]
    is_whole = isinstance(value, float) and value.is_integer()
    return int(value) if isinstance(value, float) and is_whole else value


_SAFE: Mapping[str, _Keyword] = {
    "pattern": _pattern,
    "patternProperties": _pattern_properties,
    "additionalProperties": _additional_properties,
    "uniqueItems": _unique_items,
}
