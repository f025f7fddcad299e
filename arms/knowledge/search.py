"""Which stored documents a goal means, and where in them some words stand.

Every query is limited to one owner's scope. Words are compared by PostgreSQL's
English dictionary, on concealed text.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar
from uuid import UUID

from django.db import connection

from arms.knowledge.goal_words import (
    GoalWords,
    is_request_word,
    read_goal,
    stem,
    tokens_of,
)
from arms.knowledge.models import Document

Key = TypeVar("Key")
#: So many documents at most are chosen for one goal.
MAX_DOCUMENTS = 10_000
MAX_PASSAGES = 100
_MAX_QUERY_STEMS = 50
# Words in the names of collections that say nothing about what is in them.
_GENERIC = frozenset({"sampl", "demo", "exampl", "data", "dataset", "document", "my"})
# Weights of D, C, B and A: a hit in the heading counts somewhat more.
_WEIGHTS = "{0.1, 0.2, 0.7, 1.0}"


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The documents that a goal means.

    Attributes:
        document_ids: oldest first, at most ``MAX_DOCUMENTS``.
        collection: the one they are all in, or ``None``.
        matched_by: what in the goal chose them, in words.
    """

    document_ids: tuple[UUID, ...]
    collection: str | None
    matched_by: str


@dataclass(frozen=True, kw_only=True)
class Passage:
    """A passage with its place: characters ``start`` to ``end`` of the document."""

    document_id: UUID
    title: str
    collection: str
    start: int
    end: int
    score: float
    text: str


def choose(
    owner_scope: UUID, goal: str, *, collection: str | None = None
) -> Selection | None:
    """Return the documents that the goal means, or nothing if none are meant.

    A collection that is named explicitly decides alone. Otherwise collections, then
    titles, then texts are compared with the words that describe documents.
    """
    if collection is not None:
        return _in_collection(owner_scope, collection)
    goal_words = read_goal(goal)
    if not goal_words.segments:
        return _everything(owner_scope) if goal_words.names_documents else None
    return (
        _by_collection(owner_scope, goal_words)
        or _by_title(owner_scope, goal_words)
        or _by_text(owner_scope, goal_words)
    )


def find(
    owner_scope: UUID, query: str, *, collection: str | None = None, limit: int = 10
) -> list[Passage]:
    """Return the passages that hold words of the query, the best first.

    The score, 0.0 to 1.0, is the mean of two shares: how many of the query's words
    the passage holds, and PostgreSQL's cover density rank, r / (r + 1).
    """
    stems = _query_stems(query)
    if not stems:
        return []
    queries = [_lexeme(each) for each in stems]
    with connection.cursor() as cursor:
        cursor.execute(
            _FIND,
            {
                "query": " | ".join(queries),
                "queries": queries,
                "weights": _WEIGHTS,
                "owner_scope": owner_scope,
                "collection": collection,
                "limit": max(1, min(limit, MAX_PASSAGES)),
            },
        )
        return [_passage(row) for row in cursor.fetchall()]


_FIND = """
SELECT document_id, title, collection, "start", "end", (held + density) / 2, text
FROM (
    SELECT chunks.*, documents.title, documents.collection,
           (SELECT count(*) FROM unnest(%(queries)s::text[]) AS word
            WHERE chunks.search @@ word::tsquery)::float
               / cardinality(%(queries)s::text[]) AS held,
           ts_rank_cd(%(weights)s, chunks.search, %(query)s::tsquery, 1 | 32)::float
               AS density
    FROM chunks JOIN documents ON documents.id = chunks.document_id
    WHERE documents.owner_scope = %(owner_scope)s
      AND (%(collection)s::text IS NULL
           OR lower(documents.collection) = lower(%(collection)s::text))
      AND chunks.search @@ %(query)s::tsquery
) AS found
ORDER BY held + density DESC, document_id, number
LIMIT %(limit)s
"""


def _passage(row: Sequence[object]) -> Passage:
    """Read one row of ``_FIND``."""
    document_id, title, collection, start, end, score, text = row
    return Passage(
        document_id=UUID(str(document_id)),
        title=str(title),
        collection=str(collection),
        start=int(str(start)),
        end=int(str(end)),
        score=round(float(str(score)), 4),
        text=str(text),
    )


def _query_stems(query: str) -> list[str]:
    """Return the stems to look for: those of request words only if no others are."""
    tokens = tokens_of(query)
    pairs = [
        (token, stemmed)
        for token, stemmed in zip(tokens, stem(tuple(tokens)), strict=True)
        if stemmed
    ]
    telling = [pair for pair in pairs if not is_request_word(*pair)]
    stems = dict.fromkeys(stemmed for _, stemmed in telling or pairs)
    return list(stems)[:_MAX_QUERY_STEMS]


def _in_collection(owner_scope: UUID, collection: str) -> Selection | None:
    """Choose the collection of that name, in whatever case it is written."""
    documents = Document.objects.filter(
        owner_scope=owner_scope, collection__iexact=collection
    )
    ids = _ids(documents.values_list("id", flat=True))
    return _selection(ids, f"The collection “{collection}” was named.")


def _everything(owner_scope: UUID) -> Selection | None:
    """Choose all: the goal asks for documents and says nothing more."""
    documents = Document.objects.filter(owner_scope=owner_scope)
    ids = _ids(documents.values_list("id", flat=True))
    return _selection(ids, "The goal asks for the stored documents.")


def _by_collection(owner_scope: UUID, goal_words: GoalWords) -> Selection | None:
    """Choose the collections whose name the goal's words match best."""
    documents = Document.objects.filter(owner_scope=owner_scope)
    names = documents.order_by().values_list("collection", flat=True).distinct()
    best = _best({name: name for name in names}, goal_words, enough=1)
    ids = _ids(documents.filter(collection__in=best).values_list("id", flat=True))
    listed = ", ".join(f"“{name}”" for name in best)
    return _selection(ids, f"The goal's words match the collection {listed}.")


def _by_title(owner_scope: UUID, goal_words: GoalWords) -> Selection | None:
    """Choose the documents whose title, with its collection, matches best."""
    in_heading = " | ".join(f"{_lexeme(each)}:A" for each in goal_words.subject)
    documents = Document.objects.raw(
        "SELECT documents.id, heading AS title FROM documents "
        "JOIN chunks ON document_id = documents.id AND number = 0 "
        "WHERE owner_scope = %s AND search @@ %s::tsquery LIMIT %s",
        [owner_scope, in_heading, MAX_DOCUMENTS],
    )
    titles = {document.pk: document.title for document in documents}
    # One word in common is no match: “Review 17” may review anything.
    ids = _ids(_best(titles, goal_words, enough=2))
    return _selection(ids, "The goal's words match the titles of the documents.")


def _by_text(owner_scope: UUID, goal_words: GoalWords) -> Selection | None:
    """Choose the documents in which one passage holds all the goal's words."""
    parts = (_adjacent(segment.stems) for segment in goal_words.segments)
    documents = Document.objects.raw(
        "SELECT id FROM documents WHERE owner_scope = %s AND EXISTS (SELECT FROM "
        "chunks WHERE document_id = documents.id AND search @@ %s::tsquery) "
        "ORDER BY created_at, id LIMIT %s",
        [owner_scope, " & ".join(parts), MAX_DOCUMENTS],
    )
    described = goal_words.in_words(goal_words.subject)
    ids = tuple(document.pk for document in documents)
    return _selection(ids, f"Passages of these documents hold: {described}.")


def _adjacent(stems: tuple[str, ...]) -> str:
    """Return the query for words that stand side by side in the goal.

    “Our product team will review the plan” holds both words of “product reviews” and
    has none. So two words must be neighbours, or the second stand in the heading.
    """
    lexemes = [_lexeme(each) for each in stems]
    if len(lexemes) != 2:
        return "(" + " & ".join(lexemes) + ")"
    first, second = lexemes
    return f"({first} <-> {second} | {first} & {second}:A)"


def _best(names: Mapping[Key, str], goal_words: GoalWords, *, enough: int) -> list[Key]:
    """Return the keys of the names that match the goal best, none if none does.

    A name that lacks words of the goal's phrase needs ``enough`` in common with it.
    """
    phrases = list(goal_words.phrases())
    stems = _stems_of_names(list(names.values()))
    scores = {
        key: _match(of_name, phrases, enough=enough)
        for key, of_name in zip(names, stems, strict=True)
    }
    best = max(scores.values(), default=(0, 0))
    return [key for key, score in scores.items() if score == best and score[0]]


def _stems_of_names(names: list[str]) -> list[frozenset[str]]:
    """Return the telling stems of each name, in order."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tsvector_to_array(to_tsvector('english', "
            "regexp_replace(name, '[^[:alnum:]]+', ' ', 'g'))) "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS given (name, place) "
            "ORDER BY place",
            [names],
        )
        return [
            frozenset(each for each in stems if not each.isdecimal()) - _GENERIC
            for (stems,) in cursor.fetchall()
        ]


def _match(
    stems: frozenset[str], phrases: list[tuple[str, ...]], *, enough: int
) -> tuple[int, int]:
    """Return how well a name fits: words in common, and how early in the goal.

    A name fits a phrase when it holds the phrase's last word, the one the others
    describe, and one of the two holds nothing that the other lacks: “reviews” and
    “product reviews 2024” fit “product reviews”, “products” does not.
    """
    fits = []
    for place, phrase in enumerate(phrases):
        common = len(stems.intersection(phrase))
        is_part = common >= enough and stems.issubset(phrase)
        if phrase[-1] in stems and (is_part or stems.issuperset(phrase)):
            fits.append((common, -place))
    return max(fits, default=(0, 0))


def _lexeme(stemmed: str) -> str:
    """Quote a stem for a text query; stems hold letters and digits only."""
    return f"'{stemmed}'"


def _ids(values: Iterable[UUID]) -> tuple[UUID, ...]:
    """Return the first ids; keys of version 7 sort by time."""
    return tuple(sorted(values)[:MAX_DOCUMENTS])


def _selection(ids: tuple[UUID, ...], matched_by: str) -> Selection | None:
    """Return the selection, or nothing when no document is in it."""
    if not ids:
        return None
    collections = set(
        Document.objects.filter(id__in=ids).values_list("collection", flat=True)
    )
    return Selection(
        document_ids=ids,
        collection=collections.pop() if len(collections) == 1 else None,
        matched_by=matched_by,
    )
