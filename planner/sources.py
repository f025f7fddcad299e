"""What a recipe works on: found in the context, else among ingested documents.

A plan refers to what was found and holds none of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from arms.knowledge import search
from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.plan import PlanningContract, reference
from planner.recipe import Need
from planner.words import root, roots

TEXT_FIELDS = ("text", "review", "body", "content", "comment", "message")
_TEXT_KEYS = frozenset(
    roots(
        "reviews texts documents comments feedback items messages articles text "
        "document article review comment message posts tweets tickets emails notes "
        "sentences paragraphs body content transcript report answers responses"
    )
)
_TABLE_KEYS = frozenset(roots("table csv rows data records dataset spreadsheet"))
_PAIR_KEYS = (
    ("a", "b"),
    ("text_a", "text_b"),
    ("text1", "text2"),
    ("first", "second"),
    ("left", "right"),
    ("old", "new"),
    ("before", "after"),
    ("original", "revised"),
)
# These say how to work, not on what.
_OPTION_KEYS = frozenset(
    roots(
        "rules labels categories classes kinds collection limit top sentences query "
        "group_by groupby by measures metrics language question title name"
    )
)
_LONG_TEXT = 80
_DELIMITED = re.compile(r"[^\n]*[,;\t|][^\n]*\r?\n[^\n]*[,;\t|]")


@dataclass(frozen=True, kw_only=True)
class Source:
    """What fills a recipe's slots.

    Attributes:
        slots: references by slot.
        steps: steps that fetch it, before the recipe's own; drafts as JSON.
        words: where it comes from, to end a step's description with.
    """

    slots: JSONObject
    words: str
    steps: tuple[JSONObject, ...] = ()


@dataclass(frozen=True, kw_only=True)
class _Place:
    """A value in the context that may be worked on."""

    path: str
    value: JSONValue
    key: str
    size: int


def find_source(need: Need, contract: PlanningContract) -> Source:
    """Return what there is to work on.

    Raises:
        MissingInputError: nothing; the message names what to supply.
    """
    found = in_context(need, contract)
    if found is None and need != "pair":
        found = _in_documents(need, contract)
    if found is None:
        raise MissingInputError(_WANTED[need])
    return found


def in_context(need: Need, contract: PlanningContract) -> Source | None:
    """Return what the context holds to work on, or nothing."""
    if need == "pair":
        return _pair(contract)
    if need == "documents":
        return None
    accepts = _is_table if need == "table" else _is_text_source
    keys = _TABLE_KEYS if need == "table" else _TEXT_KEYS
    places = [place for place in _places(contract.context) if accepts(place)]
    if not places:
        return None
    goal = frozenset(roots(contract.goal))
    best = max(places, key=lambda p: (_names(p.key, goal), root(p.key) in keys, p.size))
    why = _why(best, places, goal)
    what = "table" if need == "table" else _count(best.value)
    return Source(
        slots={need: reference(best.path)}, words=f"of the {what} in {best.path}{why}"
    )


def support(need: Need, contract: PlanningContract) -> float:
    """Return how much the context speaks for work of this kind.

    0.2 when there is something to work on, 0.4 when the goal names it, or one of a
    table's columns; 0.0 otherwise.
    """
    if in_context(need, contract) is None:
        return 0.0
    goal = frozenset(roots(contract.goal))
    named = [place.key for place in _places(contract.context)]
    if need == "table":
        named += [each for p in _places(contract.context) for each in _columns(p.value)]
    return 0.4 if any(_names(name, goal) for name in named) else 0.2


def _columns(table: JSONValue) -> list[str]:
    """Return the names of a table's columns, none if it is no table."""
    if isinstance(table, str):
        return re.split(r"[,;\t|]", table.partition("\n")[0])
    if isinstance(table, dict):
        columns = table.get("columns")
        return [str(each) for each in columns] if isinstance(columns, list) else []
    first = table[0] if isinstance(table, list) and table else None
    return list(first) if isinstance(first, dict) else []


def _places(context: JSONObject) -> Iterator[_Place]:
    """Yield the members of the context, and one level below."""
    for key, value in context.items():
        if _is_option(key):
            continue
        yield _Place(path=f"context.{key}", value=value, key=key, size=_size(value))
        if isinstance(value, dict):
            for inner, below in value.items():
                path = f"context.{key}.{inner}"
                yield _Place(path=path, value=below, key=inner, size=_size(below))


def _is_option(key: str) -> bool:
    return all(each in _OPTION_KEYS for each in roots(key.replace("_", " ")) or [key])


def _size(value: JSONValue) -> int:
    """Return how many characters of text are in a value."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, list):
        return sum(map(_size, value))
    return sum(map(_size, value.values())) if isinstance(value, dict) else 0


def _is_text_source(place: _Place) -> bool:
    value = place.value
    if isinstance(value, str):
        is_expected = root(place.key) in _TEXT_KEYS
        return bool(value.strip()) and (is_expected or len(value) >= _LONG_TEXT)
    return isinstance(value, list) and any(map(_holds_text, value))


def _holds_text(value: JSONValue) -> bool:
    if isinstance(value, dict):
        return any(isinstance(value.get(field), str) for field in TEXT_FIELDS)
    return isinstance(value, str) and bool(value.strip())


def _is_table(place: _Place) -> bool:
    value = place.value
    if isinstance(value, str):
        return _DELIMITED.match(value) is not None
    if isinstance(value, dict):
        return isinstance(value.get("columns"), list) and isinstance(
            value.get("rows"), list
        )
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(row, dict) for row in value)
    )


def _names(key: str, goal: frozenset[str]) -> bool:
    """Tell whether the goal names a key: "reviews" names product_reviews."""
    named = roots(key.replace("_", " "))
    return bool(named) and named[-1] in goal


def _why(best: _Place, places: list[_Place], goal: frozenset[str]) -> str:
    if len(places) == 1:
        return ""
    reason = "the goal names it" if _names(best.key, goal) else "it is the largest"
    return f" (chosen among {len(places)} because {reason})"


def _count(value: JSONValue) -> str:
    if isinstance(value, list):
        return f"{len(value)} texts" if len(value) != 1 else "one text"
    return "text"


def _pair(contract: PlanningContract) -> Source | None:
    context = contract.context
    for one, other in _PAIR_KEYS:
        if one in context and other in context:
            return _pair_of(f"context.{one}", f"context.{other}")
    texts = [
        place.path
        for place in _places(context)
        if isinstance(place.value, str) and place.value.strip()
    ]
    if len(texts) == 2:
        return _pair_of(*texts)
    for place in _places(context):
        if isinstance(place.value, list) and len(place.value) == 2:
            return _pair_of(f"{place.path}.0", f"{place.path}.1")
    return None


def _pair_of(one: str, other: str) -> Source:
    return Source(
        slots={"a": reference(one), "b": reference(other)},
        words=f"{one} and {other}",
    )


def _in_documents(need: Need, contract: PlanningContract) -> Source | None:
    """Return the ingested documents that the goal means, or nothing."""
    scope = contract.knowledge_scope
    if scope is None:
        return None
    named = contract.context.get("collection")
    collection = named if isinstance(named, str) else None
    # A search looks through all documents of its scope, so any will do.
    goal = "documents" if need == "documents" else contract.goal
    chosen = search.choose(scope, goal, collection=collection)
    if chosen is None:
        return None
    if need == "documents":
        query = "context.query" if "query" in contract.context else "goal"
        return Source(slots={"query": reference(query)}, words="")
    return _fetched(need, chosen, has_collection=collection is not None)


def _fetched(need: Need, chosen: search.Selection, *, has_collection: bool) -> Source:
    where = f" in “{chosen.collection}”" if chosen.collection else ""
    count = len(chosen.document_ids)
    wanted: JSONObject = {"goal": reference("goal")}
    if has_collection:
        wanted["collection"] = reference("context.collection")
    fetch: JSONObject = {
        "step_id": "documents",
        "description": f"Fetch the ingested documents that the goal means: {count}"
        f"{where}.",
        "arm": "retriever",
        "capability": "fetch_documents",
        "input": wanted,
    }
    path = "steps.documents.texts" + (".0" if need == "table" else "")
    what = "first document" if need == "table" else f"{count} documents"
    return Source(
        slots={need: reference(path)}, steps=(fetch,), words=f"of the {what}{where}"
    )


_WANTED: dict[Need, str] = {
    "texts": (
        "There are no texts to work on: put them into context, such as "
        '{"reviews": ["…", "…"]}, or ingest documents with POST /documents or '
        "“octollm ingest PATH”."
    ),
    "table": (
        "There is no table to work on: put it into context, such as "
        '{"table": "region,price\\nnorth,3"} or {"rows": [{"region": "north"}]}, or '
        "ingest a CSV document with POST /documents."
    ),
    "pair": (
        "There are no two texts to compare: put them into context as "
        '{"a": "…", "b": "…"}.'
    ),
    "documents": (
        "There are no documents to search: ingest some with POST /documents or "
        "“octollm ingest PATH”."
    ),
}
