"""What a recipe works on: found in the context or the goal, else among documents.

A plan refers to what was found and holds none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import get_args

from arms.knowledge import search
from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner import goal_texts
from planner.goal_texts import GoalTexts
from planner.matching import Given
from planner.places import (
    LIST_KEYS,
    TABLE_KEYS,
    TEXT_KEYS,
    VALUE_KEYS,
    Place,
    columns_of,
    is_list,
    is_named,
    is_table,
    is_texts,
    is_value,
    places,
)
from planner.plan import PlanningContract, reference
from planner.recipe import Need
from planner.words import root, roots

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
class _Kind:
    """How one value that a recipe works on is known."""

    accepts: Callable[[Place], bool]
    keys: frozenset[str]
    noun: str


_KINDS: Mapping[Need, _Kind] = {
    "texts": _Kind(accepts=is_texts, keys=TEXT_KEYS, noun="text"),
    "table": _Kind(accepts=is_table, keys=TABLE_KEYS, noun="table"),
    "value": _Kind(accepts=is_value, keys=VALUE_KEYS, noun="JSON"),
    "list": _Kind(accepts=is_list, keys=LIST_KEYS, noun="list"),
}
_FROM_DOCUMENTS = ("texts", "table", "documents")


def find_source(
    need: Need, contract: PlanningContract, *, brought: GoalTexts | None = None
) -> Source:
    """Return what there is to work on.

    Args:
        need: what kind is needed.
        contract: the request.
        brought: the goal, cut into instruction and texts; unset when its texts are
            none to work on.

    Raises:
        MissingInputError: nothing; the message names what to supply.
    """
    found = at_hand(need, contract, brought=brought)
    if found is None and need in _FROM_DOCUMENTS:
        found = _in_documents(need, contract)
    if found is None:
        raise MissingInputError(_WANTED[need])
    return found


def at_hand(
    need: Need, contract: PlanningContract, *, brought: GoalTexts | None = None
) -> Source | None:
    """Return what the context or the goal holds to work on, or nothing."""
    if need == "documents":
        return None
    in_context = _in_context(need, contract)
    if brought is None or not brought.texts:
        return in_context
    in_goal = _in_goal(need, brought.texts)
    return (in_goal or in_context) if brought.is_block else (in_context or in_goal)


def given(contract: PlanningContract, *, brought: GoalTexts | None = None) -> Given:
    """Return what there is to work on and what the context calls it."""
    named = [place.key for place in places(contract.context)]
    for place in places(contract.context):
        if is_table(place):
            named += columns_of(place.value)
    return Given(
        needs=frozenset(
            need
            for need in get_args(Need)
            if at_hand(need, contract, brought=brought) is not None
        ),
        names=frozenset(each for name in named for each in roots(_plain(name))),
        is_brought=brought is not None,
    )


def _in_context(need: Need, contract: PlanningContract) -> Source | None:
    if need in ("pair", "tables"):
        return _pair(contract) if need == "pair" else _tables(contract)
    kind = _KINDS[need]
    found = [place for place in places(contract.context) if kind.accepts(place)]
    if not found:
        return None
    goal = frozenset(roots(contract.goal))
    best = max(
        found, key=lambda p: (is_named(p.key, goal), root(p.key) in kind.keys, p.size)
    )
    why = _why(best, found, goal)
    what = _count(best.value) if need == "texts" else kind.noun
    return Source(
        slots={need: reference(best.path)}, words=f"of the {what} in {best.path}{why}"
    )


def _in_goal(need: Need, texts: Sequence[str]) -> Source | None:
    """Return the texts that the goal brings, if they are what is needed."""
    path = goal_texts.PATH
    if need in ("pair", "tables"):
        one, other = _slots_of(need)
        slots: JSONObject = {
            one: reference(f"{path}.0"),
            other: reference(f"{path}.1"),
        }
        is_fit = len(texts) == 2 and (need == "pair" or all(map(_is_table, texts)))
        return Source(slots=slots, words="that the goal brings") if is_fit else None
    if need == "texts" or (need == "list" and len(texts) > 1):
        what = _count(list[JSONValue](texts))
        return Source(
            slots={need: reference(path)}, words=f"of the {what} that the goal brings"
        )
    place = Place(path=f"{path}.0", value=texts[0], key="", size=len(texts[0]))
    if need == "list" or not _KINDS[need].accepts(place):
        return None
    return Source(
        slots={need: reference(place.path)},
        words=f"of the {_KINDS[need].noun} that the goal brings",
    )


def _is_table(text: str) -> bool:
    return is_table(Place(path="", value=text, key="", size=len(text)))


def _plain(name: str) -> str:
    return name.replace("_", " ")


def _slots_of(need: Need) -> tuple[str, str]:
    return ("left", "right") if need == "tables" else ("a", "b")


def _why(best: Place, found: list[Place], goal: frozenset[str]) -> str:
    if len(found) == 1:
        return ""
    reason = "the goal names it" if is_named(best.key, goal) else "it is the largest"
    return f" (chosen among {len(found)} because {reason})"


def _count(value: JSONValue) -> str:
    if isinstance(value, list):
        return f"{len(value)} texts" if len(value) != 1 else "one text"
    return "text"


def _pair(contract: PlanningContract) -> Source | None:
    context = contract.context
    for one, other in _PAIR_KEYS:
        if one in context and other in context:
            return _both("pair", f"context.{one}", f"context.{other}")
    texts = [
        place.path
        for place in places(context)
        if isinstance(place.value, str) and place.value.strip()
    ]
    if len(texts) == 2:
        return _both("pair", *texts)
    for place in places(context):
        if isinstance(place.value, list) and len(place.value) == 2:
            return _both("pair", f"{place.path}.0", f"{place.path}.1")
    return None


def _tables(contract: PlanningContract) -> Source | None:
    """Return the two tables there are, or the two that the goal names."""
    found = [place for place in places(contract.context) if is_table(place)]
    if len(found) > 2:
        goal = frozenset(roots(contract.goal))
        found = [place for place in found if is_named(place.key, goal)]
    if len(found) != 2:
        return None
    return _both("tables", found[0].path, found[1].path)


def _both(need: Need, one: str, other: str) -> Source:
    first, second = _slots_of(need)
    return Source(
        slots={first: reference(one), second: reference(other)},
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


_WANTED: Mapping[Need, str] = {
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
    "tables": (
        "There are no two tables to join: put them into context, such as "
        '{"left": "id,name\\n1,Ann", "right": "id,city\\n1,Rome"}.'
    ),
    "value": (
        "There is no JSON to work on: put it into context, such as "
        '{"data": {"name": "Ann"}}.'
    ),
    "list": (
        'There is no list to cut: put it into context, such as {"items": [1, 2, 3]}.'
    ),
    "documents": (
        "There are no documents to search: ingest some with POST /documents or "
        "“octollm ingest PATH”."
    ),
}
