"""The JSON that we accept: in front of DRF's parser, which answers 500 or guesses.

DRF's own takes duplicate keys and 900 levels of nesting, reads any length, and
hands NULs and lone surrogates to a database that cannot store them.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import IO, Any

from django.conf import settings
from rest_framework.parsers import BaseParser
from rest_framework.renderers import JSONRenderer

from octollm.errors import BodyTooLargeError, MalformedBodyError
from octollm.storable import holds_nul
from octollm.types import JSONValue

MAX_DEPTH = 64
# A double ends at 1.8e308. Longer integers pass PostgreSQL but no arithmetic, and
# Python itself refuses to read 4301 digits back.
MAX_INTEGER_DIGITS = 308
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
_CONTAINERS = frozenset({dict, list})


class StrictJSONParser(BaseParser):
    """Read a JSON object, and refuse whatever could be read in two ways.

    A view may set ``max_body_bytes`` (default ``OCTOLLM_MAX_BODY_BYTES``),
    ``accepts_list`` to take a list at the top as well, and ``accepts_nul`` to take
    NUL characters, if it hands nothing to the database.
    """

    media_type = "application/json"
    # The form of the browsable API is filled in by it.
    renderer_class = JSONRenderer

    def parse(
        self,
        stream: IO[Any],
        media_type: str | None = None,
        parser_context: Mapping[str, Any] | None = None,
    ) -> Any:
        """Return the parsed body, a dict or a list.

        Raises:
            BodyTooLargeError: before anything beyond the limit is read.
            MalformedBodyError: it is not JSON as we accept it.
        """
        context = parser_context or {}
        view = context.get("view")
        limit = getattr(view, "max_body_bytes", settings.OCTOLLM_MAX_BODY_BYTES)
        body = _read(stream, context["request"].META, limit)
        value = loads(body, accepts_nul=getattr(view, "accepts_nul", False))
        if isinstance(value, dict):
            return value
        if isinstance(value, list) and getattr(view, "accepts_list", False):
            return value
        raise MalformedBodyError("The body must be a JSON object.")


def _read(stream: IO[Any], meta: Mapping[str, Any], limit: int) -> bytes:
    length = int(meta["CONTENT_LENGTH"])
    if length > limit:
        raise BodyTooLargeError(f"The body may have at most {limit} bytes.")
    body: bytes = stream.read(length)
    if len(body) < length:
        raise MalformedBodyError("The body is shorter than its Content-Length.")
    return body


def loads(body: bytes, *, accepts_nul: bool = False) -> JSONValue:
    """Return what the JSON text says.

    Raises:
        MalformedBodyError: with a message that repeats nothing of the text.
    """
    try:
        text = body.decode("utf-8")
        value: JSONValue = _decoder.decode(text)
    except UnicodeDecodeError as error:
        message = f"The body is not UTF-8: byte {error.start}."
    except json.JSONDecodeError as error:
        message = f"The body is not JSON: line {error.lineno}, column {error.colno}."
    except RecursionError:
        message = f"The body is nested more than {MAX_DEPTH} deep."
    else:
        _check_nesting(text, value)
        _check_escapes(text, value, accepts_nul=accepts_nul)
        return value
    # Outside the handlers: those exceptions carry the whole text with them.
    raise MalformedBodyError(message)


def _check_nesting(text: str, value: JSONValue) -> None:
    # No text can nest deeper than it has opening brackets, and few have so many.
    if text.count("{") + text.count("[") <= MAX_DEPTH:
        return
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        level = [
            child
            for node in level
            for child in (node.values() if type(node) is dict else node)
            if type(child) in _CONTAINERS
        ]
        if not level:
            return
    raise MalformedBodyError(f"The body is nested more than {MAX_DEPTH} deep.")


def _check_escapes(text: str, value: JSONValue, *, accepts_nul: bool) -> None:
    # NULs and lone surrogates can hide in escapes only: raw, the one is refused by
    # the JSON grammar and the other by UTF-8.
    if not accepts_nul and holds_nul(text):
        raise MalformedBodyError("The body holds a NUL character (\\u0000).")
    if not _ESCAPED_SURROGATE.search(text):
        return
    try:
        json.dumps(value, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        is_whole = False
    else:
        is_whole = True
    # Outside the handler: its exception carries the text with it.
    if not is_whole:
        raise MalformedBodyError("The body holds half of a surrogate pair.")


def _object(pairs: list[tuple[str, JSONValue]]) -> dict[str, JSONValue]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise MalformedBodyError("An object of the body names a field twice.")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > MAX_INTEGER_DIGITS:
        raise MalformedBodyError(
            f"The body holds an integer of more than {MAX_INTEGER_DIGITS} digits."
        )
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise MalformedBodyError("The body holds a number too large for a double.")
    return number


def _constant(name: str) -> float:
    raise MalformedBodyError("NaN and Infinity are not JSON.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object,
    parse_int=_integer,
    parse_float=_float,
    parse_constant=_constant,
)
