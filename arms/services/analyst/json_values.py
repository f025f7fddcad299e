"""JSON of any shape: read, described path by path, flattened to a table."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from arms.services.analyst.concealing import cut
from arms.services.analyst.texts import Check, in_batches
from octollm.errors import ArmInputError, MissingInputError
from octollm.storable import why_not_storable
from octollm.types import JSONObject, JSONValue

MAX_CHARACTERS = 20_000_000
MAX_COLUMNS = 500
MAX_PATHS = 1_000
_LONGEST_KEY, _LONGEST_EXAMPLE = 200, 100
#: Objects nested deeper stay JSON text.
_MAX_DEPTH = 20


class NotJSONError(Exception):
    """A text is not JSON; says where."""


def read_json(given: JSONObject, name: str) -> JSONValue:
    """Return a value of the input; a text is read as JSON.

    Raises:
        MissingInputError: it is not there, or a blank text.
        ArmInputError: it is too large, or cannot be kept.
        NotJSONError: it is a text and not JSON.
    """
    value = given.get(name)
    if name not in given or value == "":
        raise MissingInputError(f"There is no JSON to work on: supply “{name}”.")
    if not isinstance(value, str):
        return value
    if len(value) > MAX_CHARACTERS:
        raise ArmInputError(f"“{name}” exceeds {MAX_CHARACTERS:,} characters.")
    try:
        parsed: JSONValue = json.loads(value, parse_constant=_refused)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise NotJSONError(f"It is not JSON: {error.msg}, {place}.") from error
    except (ValueError, RecursionError) as error:
        raise NotJSONError(
            "It is not JSON: a number or its depth is absurd."
        ) from error
    if why := why_not_storable(parsed):
        raise ArmInputError(f"“{name}” cannot be worked on: {why}.")
    return parsed


def _refused(constant: str) -> None:
    """Refuse NaN and Infinity, which JSON does not have."""
    raise json.JSONDecodeError(f"{constant} is no value", constant, 0)


@dataclass(kw_only=True)
class PathSummary:
    """What stands at one path: types by how often, and the first plain value."""

    types: Counter[str] = field(default_factory=Counter)
    example: JSONValue = None


@dataclass(frozen=True, kw_only=True)
class Description:
    """A value, path by path.

    Attributes:
        paths: in order of appearance; the members of lists share one path.
        depth: how many objects and lists contain each other at most.
        value_count: of all members, at paths that are not listed too.
    """

    paths: dict[str, PathSummary]
    depth: int
    value_count: int
    is_cut: bool


def describe(value: JSONValue, *, check: Check) -> Description:
    """Return what stands at each path, such as ``orders[].price``."""
    paths: dict[str, PathSummary] = {}
    deepest = count = 0
    is_cut = False
    for path, depth, member in in_batches(_walk(value), check=check, size=10_000):
        count += 1
        deepest = max(deepest, depth + isinstance(member, dict | list))
        if path not in paths:
            if len(paths) == MAX_PATHS:
                is_cut = True
                continue
            paths[path] = PathSummary()
        summary = paths[path]
        summary.types[type_name(member)] += 1
        if summary.example is None and not isinstance(member, dict | list):
            summary.example = _short(member)
    return Description(paths=paths, depth=deepest, value_count=count, is_cut=is_cut)


def _walk(value: JSONValue) -> Iterator[tuple[str, int, JSONValue]]:
    """Yield path, depth and value of everything, parents first; without recursion."""
    stack: list[tuple[str, int, JSONValue]] = [("", 0, value)]
    while stack:
        path, depth, member = stack.pop()
        yield path, depth, member
        if isinstance(member, dict):
            stack += [
                (_below(path, key), depth + 1, each)
                for key, each in reversed(member.items())
            ]
        elif isinstance(member, list):
            inside = _shortened(f"{path}[]")
            stack += [(inside, depth + 1, each) for each in reversed(member)]


def _below(path: str, key: str) -> str:
    shown = cut(key, most=_LONGEST_KEY)
    return _shortened(f"{path}.{shown}" if path else shown)


def _shortened(path: str) -> str:
    """Keep a path short: each of a thousand levels would copy all above it."""
    return path if len(path) <= 5 * _LONGEST_KEY else "…"


def _short(value: JSONValue) -> JSONValue:
    return cut(value, most=_LONGEST_EXAMPLE) if isinstance(value, str) else value


def type_name(value: JSONValue) -> str:
    """Return what JSON calls the type of a value; whole numbers are integers."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", list: "array"}
    return names.get(type(value), "object")


@dataclass(frozen=True, kw_only=True)
class Flat:
    """Records as a table.

    Attributes:
        place: the path of the records.
        columns: paths within a record, in order of appearance, at most 500.
        is_cut: whether there were more.
    """

    place: str
    columns: list[str]
    records: list[dict[str, JSONValue]]
    is_cut: bool

    def rows(self) -> Iterator[list[JSONValue]]:
        """Yield the cells of each record; what it lacks is null."""
        return ([record.get(name) for name in self.columns] for record in self.records)


def flatten(value: JSONValue, *, check: Check) -> Flat:
    """Return the records of a value with their nested objects laid flat.

    Records are the list of objects that the value is, else the longest such list
    among an object's members, else the object itself. Lists within stay JSON text.

    Raises:
        MissingInputError: there is no record.
        ArmInputError: it is no object and no list of objects.
    """
    place, found = _records(value)
    if not found:
        raise MissingInputError("There is no record to flatten: supply “data”.")
    columns: dict[str, None] = {}
    records = []
    is_cut = False
    for record in in_batches(found, check=check):
        flat = dict(_flat(record, "", _MAX_DEPTH))
        for name in flat:
            if len(columns) < MAX_COLUMNS:
                columns.setdefault(name)
            is_cut |= name not in columns
        records.append(flat)
    return Flat(place=place, columns=list(columns), records=records, is_cut=is_cut)


def _records(value: JSONValue) -> tuple[str, list[JSONObject]]:
    if isinstance(value, list):
        return "the list", _objects(value)
    if not isinstance(value, dict):
        raise ArmInputError("“data” must be an object or a list of objects.")
    lists = {
        key: [each for each in member if isinstance(each, dict)]
        for key, member in value.items()
        if isinstance(member, list) and all(isinstance(each, dict) for each in member)
    }
    longest = max(lists, key=lambda key: len(lists[key]), default=None)
    if longest is not None and lists[longest]:
        return f"“{cut(longest, most=_LONGEST_KEY)}”", lists[longest]
    return "the object itself", [value] if value else []


def _objects(members: list[JSONValue]) -> list[JSONObject]:
    objects = [member for member in members if isinstance(member, dict)]
    if len(objects) < len(members):
        raise ArmInputError("“data” must be an object or a list of objects.")
    return objects


def _flat(record: JSONObject, path: str, depth: int) -> Iterator[tuple[str, JSONValue]]:
    """Yield the plain values of a record by their paths."""
    for key, member in record.items():
        name = _below(path, key) or "(empty)"
        if isinstance(member, dict) and member and depth:
            yield from _flat(member, name, depth - 1)
        elif isinstance(member, dict | list):
            yield name, json.dumps(member, ensure_ascii=False)
        else:
            yield name, member
