"""Finding the value that a criterion's words name, in a result and its outputs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from octollm.types import JSONObject, JSONValue

#: Keys of a result that speak about it and are not its content.
ABOUT = frozenset(
    {"criteria", "constraints", "reservations", "method", "confidence_reason"}
)
_MAX_DEPTH = 4
_TOKEN = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")


@dataclass(frozen=True, kw_only=True)
class Found:
    """A value and where it stands, such as ``result.sentiment_score``."""

    value: JSONValue
    place: str


@dataclass(frozen=True, kw_only=True)
class NotFound:
    """Why no value was found."""

    reason: str


Wanted = Callable[[JSONValue], bool]


def is_number(value: JSONValue) -> bool:
    """Say whether a value is a number; truth values are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def is_text(value: JSONValue) -> bool:
    """Say whether a value is a text."""
    return isinstance(value, str)


def is_list(value: JSONValue) -> bool:
    """Say whether a value is a list."""
    return isinstance(value, list)


def anything(value: JSONValue) -> bool:
    """Accept every value."""
    return True


def find_field(
    name: str,
    *,
    result: JSONObject,
    outputs: Mapping[str, JSONValue],
    wanted: Wanted = anything,
) -> Found | NotFound:
    """Return the value of the field that ``name`` names.

    Case, underscores and plurals do not matter. The result's own keys come first,
    then deeper ones, then the outputs of steps. At the first level that has the name,
    a key that is named whole beats one that is named in part (“score” for
    ``sentiment_score``), which must be ``wanted``. Different values of the same name
    are not chosen between.
    """
    words = _words(name)
    if not words:
        return NotFound(reason="The criterion names no field.")
    for level in _levels(result, outputs):
        whole = [each for words_of, each in level if words_of == words]
        partly = [
            each
            for words_of, each in level
            if set(words) < set(words_of) and wanted(each.value)
        ]
        candidates = whole or partly
        if candidates:
            return _only(candidates, name)
    return NotFound(reason=f"Neither the result nor an output has “{name}”.")


def sole_field(result: JSONObject, *, wanted: Wanted, kind: str) -> Found | NotFound:
    """Return the result's only field that is wanted, for criteria without a name."""
    found = [
        Found(value=value, place=f"result.{key}")
        for key, value in result.items()
        if key not in ABOUT and wanted(value)
    ]
    if len(found) == 1:
        return found[0]
    return NotFound(
        reason=f"The result has {len(found) or 'no'} {kind}"
        + ("s; the criterion does not say which." if found else ".")
    )


def texts_of(value: JSONValue) -> Iterator[str]:
    """Yield all texts of a value except what only speaks about a result."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for member in value:
            yield from texts_of(member)
    elif isinstance(value, dict):
        for key, member in value.items():
            if key not in ABOUT:
                yield from texts_of(member)


def _only(candidates: list[Found], name: str) -> Found | NotFound:
    """Return the one value there is, or say where the different ones stand."""
    first = candidates[0]
    if all(each.value == first.value for each in candidates):
        return first
    places = ", ".join(each.place for each in candidates[:5])
    return NotFound(reason=f"“{name}” may mean several fields: {places}.")


_Named = tuple[tuple[str, ...], Found]


def _levels(
    result: JSONObject, outputs: Mapping[str, JSONValue]
) -> Iterator[list[_Named]]:
    """Yield fields by level: result, deeper in it, outputs, deeper in those."""
    content = {key: value for key, value in result.items() if key not in ABOUT}
    yield [_named(key, value, "result") for key, value in content.items()]
    yield list(_deeper(content, "result"))
    steps = [
        (f"outputs.{step_id}", output)
        for step_id, output in outputs.items()
        if isinstance(output, dict)
    ]
    yield [
        _named(key, value, place)
        for place, output in steps
        for key, value in output.items()
        if key not in ABOUT
    ]
    yield [each for place, output in steps for each in _deeper(output, place)]


def _deeper(
    parent: Mapping[str, JSONValue], place: str, depth: int = 1
) -> Iterator[_Named]:
    """Yield the fields of objects within an object; lists have no names."""
    if depth >= _MAX_DEPTH:
        return
    for key, value in parent.items():
        if isinstance(value, dict) and key not in ABOUT:
            inside = f"{place}.{key}"
            yield from (_named(*item, inside) for item in value.items())
            yield from _deeper(value, inside, depth + 1)


def _named(key: str, value: JSONValue, place: str) -> _Named:
    """Pair a field with the words of its name."""
    return _words(key), Found(value=value, place=f"{place}.{key}")


def _words(name: str) -> tuple[str, ...]:
    """Return the words of a name in singular: keywordsFound → keyword, found."""
    return tuple(_singular(word.lower()) for word in _TOKEN.findall(name))


def _singular(word: str) -> str:
    """Take a plural's ending off; the same way on both sides is enough."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith("ss"):
        return word[:-1]
    return word
