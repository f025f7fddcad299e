"""The retriever's catalogue entry: what each capability takes and gives."""

from __future__ import annotations

from arms.contract import ArmSpec, Capability
from arms.services import schemas

_COLLECTION = schemas.text("Only documents of this collection.")
_METHOD = schemas.text("How the documents were found.")

_SEARCH = Capability(
    name="search",
    synonyms=("search_documents",),
    description="Find passages in the stored documents, with citations.",
    input_schema=schemas.record(
        {
            "query": schemas.text("Words to look for."),
            "collection": _COLLECTION,
            "limit": schemas.count("How many passages, 10 if unset.", minimum=1),
        },
        required=("query",),
    ),
    output_schema=schemas.record(
        {
            "passages": schemas.array(
                schemas.record(
                    {
                        "text": schemas.text(),
                        "title": schemas.text(),
                        "document_id": schemas.text(),
                        "start": schemas.count("Offset into the stored document."),
                        "end": schemas.count("Offset after the passage."),
                        "score": schemas.number("1 is the best.", minimum=0, maximum=1),
                    }
                ),
                "The best first.",
            ),
            "count": schemas.count(),
            "method": _METHOD,
        }
    ),
    seconds=1.0,
)
_FETCH = Capability(
    name="fetch_documents",
    synonyms=("retrieve_documents",),
    description="Fetch the stored documents that a goal's words mean.",
    input_schema=schemas.record(
        {
            "goal": schemas.text("The request in the caller's words."),
            "collection": _COLLECTION,
            "limit": schemas.count("How many documents, 1,000 if unset.", minimum=1),
        },
        required=("goal",),
    ),
    output_schema=schemas.record(
        {
            "texts": schemas.array(schemas.text(), "One per document."),
            "titles": schemas.array(schemas.text(), "In the order of texts."),
            "document_ids": schemas.array(schemas.text(), "In the order of texts."),
            "collection": schemas.anything(
                "The collection they are in, or null when they are in several."
            ),
            "count": schemas.count(),
            "available": schemas.count("How many were chosen before the limit."),
            "matched_by": schemas.text("What in the goal chose them."),
            "method": _METHOD,
        }
    ),
    seconds=1.0,
)

# Documents are stored concealed and stay so: the retriever is shown no values.
SPEC = ArmSpec(
    name="retriever",
    version="1.0",
    description="Finds passages and documents among what was ingested.",
    capabilities=(_SEARCH, _FETCH),
    is_repeatable=True,
    synonyms=("retrieval", "search", "knowledge", "librarian"),
)
