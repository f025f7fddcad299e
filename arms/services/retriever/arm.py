"""The retriever as an arm: finds passages and documents of the task's owner.

Documents are stored concealed, and it gives them as they are stored.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from uuid import UUID

from django.conf import settings
from django.db import DatabaseError

from arms.contract import ArmReply, ArmRequest, ArmServices, ArmSpec, Health
from arms.knowledge import search
from arms.knowledge.models import Document
from arms.services.retriever.capabilities import SPEC
from octollm.errors import ArmInputError, MissingInputError
from octollm.ids import new_id
from octollm.types import JSONObject, JSONValue

_SEARCH_LIMIT = 10
_FETCH_LIMIT = 1_000
_ID_BYTES = 50
_METHOD = "PostgreSQL full text, English stems"


class RetrieverArm:
    """Finds what the owner ingested, and says where it stands."""

    @property
    def spec(self) -> ArmSpec:
        """The catalogue entry."""
        return SPEC

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Search passages or fetch documents.

        Raises:
            ArmInputError: the input has the wrong shape.
            MissingInputError: no document is meant or none may be read.
        """
        work = _WORK.get(request.capability)
        if work is None:
            raise ArmInputError(
                f"The retriever has no capability “{request.capability}”.",
                arm_name=SPEC.name,
            )
        if services.knowledge_scope is None:
            raise MissingInputError("This task may read nobody's documents.")
        services.stop.check()
        return work(services.knowledge_scope, request.input)

    def check(self) -> Health:
        """Run a search that finds nothing through the whole path."""
        try:
            search.find(new_id(), "health check")
        except DatabaseError as error:
            return Health(is_healthy=False, detail=type(error).__name__)
        return Health(is_healthy=True, detail=_METHOD)


def _search(scope: UUID, given: JSONObject) -> ArmReply:
    """Find passages; none found is an answer, not an error."""
    query = _text(given, "query")
    passages = search.find(
        scope,
        query,
        collection=_optional_text(given, "collection"),
        limit=_limit(given, default=_SEARCH_LIMIT),
    )
    output: JSONObject = {
        "passages": [_cited(passage) for passage in passages],
        "count": len(passages),
        "method": f"{_METHOD}, any of the words, ranked by share and density.",
    }
    best = passages[0].score if passages else 0.0
    return ArmReply(
        output=output,
        confidence=best,
        confidence_reason=(
            "The score of the best passage."
            if passages
            else "No passage holds any of the words."
        ),
        evidence=[
            {"kind": "citation", "document_id": str(each.document_id)}
            | {"start": each.start, "end": each.end}
            for each in passages
        ],
    )


def _cited(passage: search.Passage) -> JSONObject:
    """Return a passage with its place, as the catalogue promises it."""
    return {
        "text": passage.text,
        "title": passage.title,
        "document_id": str(passage.document_id),
        "start": passage.start,
        "end": passage.end,
        "score": passage.score,
    }


def _fetch(scope: UUID, given: JSONObject) -> ArmReply:
    """Fetch the documents that the goal means, oldest first."""
    goal = _text(given, "goal")
    selection = search.choose(
        scope, goal, collection=_optional_text(given, "collection")
    )
    if selection is None:
        raise MissingInputError(
            "No ingested document matches the goal: ingest some, or put the texts "
            "into “context”."
        )
    wanted = selection.document_ids[: _limit(given, default=_FETCH_LIMIT)]
    documents, is_cut = _within_bounds(wanted)
    total = len(selection.document_ids)
    texts: list[JSONValue] = [document.text for document in documents]
    titles: list[JSONValue] = [document.title for document in documents]
    ids: list[JSONValue] = [str(document.pk) for document in documents]
    remarks = [f"{_METHOD}.", selection.matched_by]
    if len(documents) < total:
        remarks.append(f"{total - len(documents)} more were left out by the limits.")
    if is_cut:
        remarks.append("The text was cut: it is too large for one output.")
    output: JSONObject = {
        "texts": texts,
        "titles": titles,
        "document_ids": ids,
        "collection": selection.collection,
        "count": len(documents),
        "available": total,
        "matched_by": selection.matched_by,
        "method": " ".join(remarks),
    }
    return ArmReply(
        output=output,
        confidence=len(documents) / total,
        confidence_reason="The share of the chosen documents that is given here.",
        evidence=[{"kind": "selection", "matched_by": selection.matched_by}],
    )


def _within_bounds(ids: tuple[UUID, ...]) -> tuple[list[Document], bool]:
    """Read documents in order while they fit an output; the first one always.

    Returns:
        The documents, and whether the only one's text had to be cut.
    """
    # A quarter is left for what else the output holds and how JSON writes it.
    room = settings.OCTOLLM_MAX_OUTPUT_BYTES * 3 // 4
    documents: list[Document] = []
    rows = Document.objects.filter(id__in=ids).order_by("id").only("title", "text")
    for row in rows.iterator(chunk_size=100):
        size = len(row.text.encode()) + len(row.title.encode()) + _ID_BYTES
        if size > room and documents:
            break
        documents.append(row)
        if size > room:
            row.text = row.text.encode()[:room].decode(errors="ignore")
            return documents, True
        room -= size
    return documents, False


def _text(given: JSONObject, name: str) -> str:
    """Return a text of the input.

    Raises:
        ArmInputError: it is no text.
        MissingInputError: it is not there or blank.
    """
    value = given.get(name)
    if value is None or value == "":
        raise MissingInputError(f"There is nothing to look for: supply “{name}”.")
    if not isinstance(value, str):
        raise ArmInputError(f"“{name}” must be a text.", arm_name=SPEC.name)
    return value


def _optional_text(given: JSONObject, name: str) -> str | None:
    """Return a text of the input, or nothing when it is not given."""
    return _text(given, name) if given.get(name) is not None else None


def _limit(given: JSONObject, *, default: int) -> int:
    """Return how many are wanted."""
    value = given.get("limit", default)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArmInputError("“limit” must be a whole number from 1.")
    return value


_WORK: Mapping[str, Callable[[UUID, JSONObject], ArmReply]] = {
    "search": _search,
    "fetch_documents": _fetch,
}
