"""A JSON document as one text, and the way back from spans to its places.

Every string, key and number is a piece. ``END`` stands after a piece, and
``ASSIGN`` between a key and its own value, so that one scan sees it all and no
match runs from one piece into another that has nothing to do with it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from enum import StrEnum

from octollm.types import JSONObject, JSONValue
from reflex.rules import ASSIGN, END

# Longer numbers are no personal data, and Python refuses to write them out.
_MAX_NUMBER = 10**40
_MAX_KEY_IN_PATH = 64


class PieceKind(StrEnum):
    """What a piece is in its document; also the JSON type of a concealed value."""

    KEY = "key"
    STRING = "string"
    INTEGER = "integer"
    FLOAT = "float"


# Where a piece is: the place around it, and a piece (a key) or a position (in a list).
Place = tuple["Place | None", int, bool]


class DocumentText:
    """The pieces of one document, in the order in which ``rebuild`` meets them.

    Attributes:
        text: all pieces, joined.
        kinds: of each piece.
        starts: where each piece begins in ``text``.
    """

    def __init__(self, document: JSONValue) -> None:
        """Walk the document once."""
        self._document = document
        self._parts: list[str] = []
        self._places: list[Place | None] = []
        self._length = 0
        self.kinds: list[PieceKind] = []
        self.starts: list[int] = []
        self._walk(document, None)
        self.text = "".join(self._parts)

    def piece(self, index: int) -> str:
        """Return the text of a piece."""
        return self._parts[index][:-1]

    def pieces_in(self, start: int, end: int) -> list[tuple[int, int, int]]:
        """Return which pieces a span covers, and from where to where in each."""
        covered = []
        index = bisect_right(self.starts, start) - 1
        while index < len(self.starts) and self.starts[index] < end:
            offset = self.starts[index]
            length = len(self._parts[index]) - 1
            inner = max(0, start - offset), min(length, end - offset)
            if inner[0] < inner[1]:
                covered.append((index, *inner))
            index += 1
        return covered

    def path(self, index: int, concealed: Mapping[int, str]) -> str:
        """Return the place of a piece, keys written as they are after concealing."""
        names = []
        place = self._places[index]
        while place is not None:
            place, number, is_key = place
            if is_key:
                key = concealed.get(number) or self.piece(number)
                names.append(_storable(key[:_MAX_KEY_IN_PATH]))
            else:
                names.append(str(number))
        return ".".join(reversed(names))

    def rebuild(self, pieces: Mapping[int, str]) -> JSONValue:
        """Return the document with these pieces in place of its own."""
        return _Rebuild(pieces).run(self._document)

    def sibling_keys(self, indexes: Iterable[int]) -> list[list[int]]:
        """Return all keys, as pieces, of the objects to which these keys belong."""
        # A place without a parent is None, whose id is one as good as any.
        objects: dict[int, list[int]] = {self._parent_id(i): [] for i in indexes}
        for index, kind in enumerate(self.kinds):
            if kind == PieceKind.KEY and self._parent_id(index) in objects:
                objects[self._parent_id(index)].append(index)
        return list(objects.values())

    def _parent_id(self, key: int) -> int:
        place = self._places[key]
        return id(place[0] if place else None)

    def _walk(self, node: JSONValue, place: Place | None) -> None:
        if isinstance(node, str):
            self._add(node, PieceKind.STRING, place)
        elif isinstance(node, dict):
            for key, value in node.items():
                own = (place, len(self.kinds), True)
                is_leaf = not isinstance(value, (dict, list))
                self._add(key, PieceKind.KEY, own, ASSIGN if is_leaf else END)
                self._walk(value, own)
        elif isinstance(node, list):
            for position, value in enumerate(node):
                self._walk(value, (place, position, False))
        elif is_whole_number(node):
            kind = PieceKind.FLOAT if isinstance(node, float) else PieceKind.INTEGER
            self._add(str(node), kind, place)

    def _add(
        self, text: str, kind: PieceKind, place: Place | None, after: str = END
    ) -> None:
        self.starts.append(self._length)
        self.kinds.append(kind)
        self._places.append(place)
        self._parts.append(text + after)
        self._length += len(text) + 1


def _storable(name: str) -> str:
    """Return the name without what PostgreSQL cannot hold: NUL and lone surrogates."""
    return name.encode("utf-8", "replace").decode().replace(END, "?")


def is_whole_number(node: JSONValue) -> bool:
    """Return whether a number can be personal data: whole, and not too long.

    The digits of 0.4111111111111111 are a measurement, not a card.
    """
    if isinstance(node, bool) or not isinstance(node, (int, float)):
        return False
    if isinstance(node, float) and not (math.isfinite(node) and node.is_integer()):
        return False
    return abs(node) < _MAX_NUMBER


class _Rebuild:
    """One walk in the order of the first, counting pieces."""

    def __init__(self, pieces: Mapping[int, str]) -> None:
        self._pieces = pieces
        self._next = 0

    def run(self, node: JSONValue) -> JSONValue:
        if isinstance(node, str):
            return self._take(node)
        if isinstance(node, dict):
            return self._object(node)
        if isinstance(node, list):
            return [self.run(item) for item in node]
        return self._take(node) if is_whole_number(node) else node

    def _object(self, node: JSONObject) -> JSONObject:
        rebuilt: JSONObject = {}
        for key, value in node.items():
            name = str(self._take(key))
            rebuilt[name] = self.run(value)
        return rebuilt

    def _take(self, node: JSONValue) -> JSONValue:
        index = self._next
        self._next += 1
        return self._pieces.get(index, node)
