"""Taking documents in, concealed, and giving them up."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from uuid import UUID

from django.db import transaction
from django.db.models import Count

from arms.knowledge.chunking import cut
from arms.knowledge.models import Chunk, Document
from octollm.errors import (
    BodyTooLargeError,
    MalformedBodyError,
    RequestError,
    TaskRejectedError,
)
from octollm.ids import new_id
from octollm.storable import holds_nul
from octollm.types import JSONObject
from reflex.fingerprints import fingerprint
from reflex.placeholders import KNOWLEDGE_PREFIX
from reflex.screening import Checkpoint, Inspected, Screened, decide, inspect
from reflex.vault import Vault, open_vault

MAX_TEXT_BYTES = 2**20
MAX_METADATA_CHARACTERS = 50_000
MAX_COLLECTION_LENGTH = 100
MAX_TITLE_LENGTH = 300


@dataclass(frozen=True, kw_only=True)
class NewDocument:
    """A document as it came; without a title it is called by its first words."""

    collection: str
    text: str
    title: str = ""
    metadata: JSONObject = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class IngestedDocument:
    """Where a document is stored.

    Attributes:
        document_id: the stored document's, also when it was there before.
        chunks: how many passages it has.
        duplicate_of: the document with the same content that was there before.
    """

    document_id: UUID
    collection: str
    chunks: int
    duplicate_of: UUID | None

    def as_json(self) -> JSONObject:
        """Return the public form."""
        return {
            "document_id": str(self.document_id),
            "collection": self.collection,
            "chunks": self.chunks,
            "duplicate_of": str(self.duplicate_of) if self.duplicate_of else None,
        }


def ingest(
    owner_scope: UUID,
    *,
    collection: str,
    title: str,
    text: str,
    metadata: JSONObject | None = None,
) -> IngestedDocument:
    """Store one document; see ``ingest_all``."""
    document = NewDocument(
        collection=collection, title=title, text=text, metadata=metadata or {}
    )
    return ingest_all(owner_scope, [document])[0]


def ingest_all(
    owner_scope: UUID, documents: Sequence[NewDocument]
) -> list[IngestedDocument]:
    """Screen, conceal, cut and store documents: all of them, or none.

    Returns:
        One answer per document, in order.

    Raises:
        RequestError: a document is blank or malformed; says which one.
        BodyTooLargeError: a document is too large.
        TaskRejectedError: the reflex blocked one; only its screening is kept.
        ScreeningUnavailableError: nothing can be screened now; a retry helps.
    """
    for number, document in enumerate(documents, start=1):
        _validate(document, number=number)
    macs = [_mac(document) for document in documents]
    inspected = _inspect_new(owner_scope, macs, documents)
    try:
        with transaction.atomic(), open_vault(owner_scope, KNOWLEDGE_PREFIX) as vault:
            return _store(owner_scope, macs, inspected, vault)
    except _BlockedError as blocked:
        # The transaction took everything back; that it was refused is kept.
        blocked.screened.save(scope_id=owner_scope)
        raise TaskRejectedError(
            "A document was refused.", rule_ids=blocked.screened.rule_ids
        ) from None


def delete(owner_scope: UUID, document_id: UUID) -> bool:
    """Delete a document of this owner with its passages; say whether it was there."""
    mine = Document.objects.filter(owner_scope=owner_scope, id=document_id)
    deleted_count, _ = mine.delete()
    return deleted_count > 0


def chunk_counts(document_ids: Iterable[UUID]) -> dict[UUID, int]:
    """Return how many passages each document has."""
    rows = Chunk.objects.filter(document_id__in=list(document_ids))
    counted = rows.order_by().values("document_id").annotate(count=Count("id"))
    return {row["document_id"]: row["count"] for row in counted}


class _BlockedError(Exception):
    """Carries a blocked screening out of the transaction that it ends."""

    def __init__(self, screened: Screened) -> None:
        super().__init__()
        self.screened = screened


def _validate(document: NewDocument, *, number: int) -> None:
    """Refuse what cannot be stored, naming the document by its place."""
    try:
        metadata = json.dumps(document.metadata, ensure_ascii=False)
        names = document.collection + document.title + metadata
        size = len(document.text.encode())
        names.encode()
    except UnicodeEncodeError as error:
        raise MalformedBodyError(
            f"Document {number} holds half a surrogate pair."
        ) from error
    if size > MAX_TEXT_BYTES:
        raise BodyTooLargeError(
            f"Document {number} is larger than {MAX_TEXT_BYTES:,} bytes."
        )
    if "\x00" in document.text + names or holds_nul(metadata):
        raise MalformedBodyError(f"Document {number} holds a NUL character.")
    if not document.text.strip() or not document.collection.strip():
        raise RequestError(f"Document {number} lacks a text or a collection.")
    _validate_lengths(document, number=number, metadata_length=len(metadata))


def _validate_lengths(
    document: NewDocument, *, number: int, metadata_length: int
) -> None:
    """Refuse names and metadata beyond their limits."""
    if len(document.collection) > MAX_COLLECTION_LENGTH:
        raise RequestError(f"Document {number}: the collection's name is too long.")
    if len(document.title) > MAX_TITLE_LENGTH:
        raise RequestError(f"Document {number}: the title is too long.")
    if metadata_length > MAX_METADATA_CHARACTERS:
        raise RequestError(f"Document {number}: the metadata is too large.")


def _inspect_new(
    owner_scope: UUID, macs: Sequence[str], documents: Sequence[NewDocument]
) -> dict[str, Inspected]:
    """Look, outside any transaction, into the documents that are not stored yet."""
    before = set(_stored(owner_scope, macs))
    inspected: dict[str, Inspected] = {}
    for mac, document in zip(macs, documents, strict=True):
        if mac not in before and mac not in inspected:
            inspected[mac] = _inspect(document)
    return inspected


def _store(
    owner_scope: UUID,
    macs: Sequence[str],
    inspected: Mapping[str, Inspected],
    vault: Vault,
) -> list[IngestedDocument]:
    """Write the documents that are new and answer for all."""
    rows = {
        mac: _conceal(owner_scope, each, mac=mac, vault=vault)
        for mac, each in inspected.items()
    }
    # In one order everywhere, so that two lists with common members do not deadlock;
    # whoever comes second finds its rows ignored and takes the first one's.
    ordered = [rows[mac] for mac in sorted(rows)]
    Document.objects.bulk_create(ordered, ignore_conflicts=True, batch_size=100)
    after = _stored(owner_scope, macs)
    mine = [row for row in ordered if after[row.content_mac].pk == row.pk]
    chunks = (chunk for row in mine for chunk in _chunks(row))
    Chunk.objects.bulk_create(chunks, batch_size=500)
    return _answers(macs, after, mine={row.content_mac for row in mine})


def _mac(document: NewDocument) -> str:
    """Return the fingerprint of content and collection as they came."""
    return fingerprint([document.collection, document.text], purpose="document")


def _stored(owner_scope: UUID, macs: Sequence[str]) -> dict[str, Document]:
    """Return the owner's stored documents with these fingerprints, without text."""
    rows = Document.objects.filter(owner_scope=owner_scope, content_mac__in=macs)
    return {row.content_mac: row for row in rows.only("content_mac", "collection")}


def _inspect(document: NewDocument) -> Inspected:
    return inspect(
        {
            "collection": document.collection,
            "title": document.title or _first_words(document.text),
            "text": document.text,
            "metadata": document.metadata,
        },
        checkpoint=Checkpoint.DOCUMENT,
    )


def _conceal(
    owner_scope: UUID, inspected: Inspected, *, mac: str, vault: Vault
) -> Document:
    """Decide over a document and return its concealed row, not yet written.

    Raises:
        _BlockedError: the reflex does not let it in.
    """
    screened = decide(inspected, vault=vault)
    if screened.is_blocked:
        raise _BlockedError(screened)
    screened.save(scope_id=owner_scope)
    concealed = screened.document
    text, metadata = str(concealed["text"]), concealed["metadata"]
    return Document(
        id=new_id(),
        owner_scope=owner_scope,
        collection=str(concealed["collection"]),
        title=str(concealed["title"]),
        metadata=metadata,
        content_mac=mac,
        text=text,
        length=len(text),
        taint=list(screened.taint),
    )


def _first_words(text: str) -> str:
    """Return a title for a document that came without one."""
    return shorten(text, width=80, placeholder="…") or text.strip()[:79] + "…"


def _chunks(document: Document) -> Iterator[Chunk]:
    """Cut a document into its passages."""
    heading = f"{document.collection.replace('_', ' ')}\n{document.title}"
    for number, span in enumerate(cut(document.text)):
        yield Chunk(
            document=document,
            number=number,
            start=span.start,
            end=span.end,
            heading=heading,
            text=document.text[span.start : span.end],
        )


def _answers(
    macs: Sequence[str], stored: Mapping[str, Document], *, mine: set[str]
) -> list[IngestedDocument]:
    """Answer for each document as it came: its place, and whether it was there."""
    counts = chunk_counts(row.pk for row in stored.values())
    answers = []
    for place, mac in enumerate(macs):
        row = stored[mac]
        is_new = mac in mine and mac not in macs[:place]
        answers.append(
            IngestedDocument(
                document_id=row.pk,
                collection=row.collection,
                chunks=counts.get(row.pk, 0),
                duplicate_of=None if is_new else row.pk,
            )
        )
    return answers
