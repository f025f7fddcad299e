"""What the words of a request say about the documents it means.

“Analyze sentiment of product reviews” is about product reviews: what should be done
(analyze, sentiment) says nothing about the documents. Words are compared by the stems
of PostgreSQL's English dictionary, as the documents are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from django.db import connection

from reflex.placeholders import PLACEHOLDER

_TOKEN = re.compile(r"[^\W_]+")
_MAX_TOKENS = 2_000
# In “reviews of our products” the second part describes the first.
_JOINERS = frozenset({"of", "about", "for", "on", "regarding", "concerning"})
_DETERMINERS = frozenset(
    {"the", "a", "an", "all", "any", "our", "my", "your", "their", "these", "those"}
)
_REQUEST_WORDS = """
    analyze analyse analysis assess calculate categorise categorize check classify
    collect compare compute count describe detect determine evaluate examine explain
    extract fetch figure find generate get give group identify inspect interpret judge
    label list look make measure mention obtain produce provide pull rank rate read
    report retrieve return review run say score search show sort study sum summarise
    summarize summary tell total understand use work write
    please want need would like could should must can help know also
    sentiment emotion opinion polarity mood tone attitude feeling positive negative
    neutral keyword keyphrase topic theme term main important common frequent key point
    result answer overview insight average mean median maximum minimum statistics number
    sentence paragraph word phrase text entry item record data dataset row column table
    email mail e address date amount money currency
    collection document file knowledge base stored ingested uploaded
    sample demo example every each overall english following people person
"""
_NOUNS_TOO = frozenset({"review", "reviews", "report", "reports"})
_DOCUMENT_WORDS = frozenset("""
    document documents file files knowledge collection collections ingested stored
    uploaded
    """.split())  # noqa: SIM905  # reads better than a list


@dataclass(frozen=True, kw_only=True)
class Segment:
    """Words that stand side by side.

    Attributes:
        stems: their stems, in order; the last is what the others describe.
        is_joined: whether a preposition ties it to the segment before it.
    """

    stems: tuple[str, ...]
    is_joined: bool


@dataclass(frozen=True, kw_only=True)
class GoalWords:
    """What a goal says about documents.

    Attributes:
        segments: the groups of words that describe documents, in order.
        stems: all stems of the goal, those of request words too.
        words: a word of the goal for each stem.
        names_documents: whether it asks for documents as such.
    """

    segments: tuple[Segment, ...]
    stems: frozenset[str]
    words: dict[str, str]
    names_documents: bool

    @property
    def subject(self) -> tuple[str, ...]:
        """Return the stems that describe documents, each once, in order."""
        every = (stem for segment in self.segments for stem in segment.stems)
        return tuple(dict.fromkeys(every))

    def phrases(self) -> Iterator[tuple[str, ...]]:
        """Yield segments with what describes them in front: product review."""
        current: tuple[str, ...] = ()
        for segment in self.segments:
            if segment.is_joined:
                current = segment.stems + current
                continue
            if current:
                yield current
            current = segment.stems
        if current:
            yield current

    def in_words(self, stems: tuple[str, ...]) -> str:
        """Return the goal's own words for these stems."""
        return ", ".join(self.words.get(stem, stem) for stem in stems)


def read_goal(goal: str) -> GoalWords:
    """Read which documents a goal speaks of."""
    tokens = tokens_of(goal)
    stems = stem(tuple(tokens))
    pairs = list(zip(tokens, stems, strict=True))
    return GoalWords(
        segments=tuple(_segments(pairs)),
        stems=frozenset(each for each in stems if each),
        words={each: token for token, each in reversed(pairs) if each},
        names_documents=not _DOCUMENT_WORDS.isdisjoint(tokens),
    )


def tokens_of(text: str) -> list[str]:
    """Return the words of a text in lower case; placeholders are none."""
    return _TOKEN.findall(PLACEHOLDER.sub(" ", text).lower())[:_MAX_TOKENS]


def stem(tokens: tuple[str, ...]) -> list[str]:
    """Return the stem of each token, empty for stop words and plain numbers."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT CASE WHEN token ~ '^[0-9]+$' THEN NULL "
            "ELSE (ts_lexize('english_stem', token))[1] END "
            "FROM unnest(%s::text[]) WITH ORDINALITY AS given (token, place) "
            "ORDER BY place",
            [list(tokens)],
        )
        return [row[0] or "" for row in cursor.fetchall()]


def is_request_word(token: str, stemmed: str) -> bool:
    """Say whether a word tells what to do and not what with.

    “Review” is both: it asks only as the first word, which the caller knows.
    """
    return token not in _NOUNS_TOO and stemmed in _request_stems()


@lru_cache(maxsize=1)
def _request_stems() -> frozenset[str]:
    """Return the stems of the request words, as the dictionary forms them."""
    return frozenset(stem(tuple(_REQUEST_WORDS.split())))


def _segments(pairs: list[tuple[str, str]]) -> Iterator[Segment]:
    """Group the words between stop words and request words."""
    current: list[str] = []
    is_joined = joins_next = False
    for place, (token, stemmed) in enumerate(pairs):
        if token.isdecimal():
            continue  # “reviews of 2024” and “the model 3 manual” stay together
        is_asking = place == 0 and token in ("review", "report")
        if stemmed and not is_asking and not is_request_word(token, stemmed):
            if not current:
                is_joined, joins_next = joins_next, False
            current.append(stemmed)
            continue
        if current:
            yield Segment(stems=tuple(current), is_joined=is_joined)
            joins_next = token in _JOINERS
            current = []
        elif token not in _DETERMINERS:
            joins_next = False
    if current:
        yield Segment(stems=tuple(current), is_joined=is_joined)
