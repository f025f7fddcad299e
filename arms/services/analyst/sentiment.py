"""Sentiment by lexicon: one score per text, and what the lexicon left undecided."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from arms.services.analyst.texts import Check, in_batches, sentences

NAME = "vader-3.3.2, English lexicon"
#: A score nearer to 0 than this says nothing.
#: Source: Hutto and Gilbert, "VADER", ICWSM 2014, and the library's README.
DECIDED_FROM = 0.05
#: Share of decided texts whose sign is right, on 991 sentences of reviews.
#: Source: own measurement on "amazon_cells" of the UCI Sentiment Labelled Sentences
#: (Kotzias et al., 2015): 0.891 of the 78 % that the lexicon decides.
ACCURACY_WHEN_DECIDED = 0.891
# The lexicon was made for sentences; its time also grows with the square of length.
_SENTENCE_BY_SENTENCE_FROM = 1_000


@dataclass(frozen=True, kw_only=True)
class TextSentiment:
    """The score of one text, -1.0 to 1.0, and whether the lexicon knew any word."""

    score: float
    has_known_words: bool

    @property
    def label(self) -> str:
        """Return positive, negative, neutral (words balance) or undecided."""
        if self.score >= DECIDED_FROM:
            return "positive"
        if self.score <= -DECIDED_FROM:
            return "negative"
        return "neutral" if self.has_known_words else "undecided"


@dataclass(frozen=True, kw_only=True)
class Sentiment:
    """The sentiment of several texts.

    Attributes:
        texts: one finding per text, in order.
        score: mean of their scores.
        positive, negative, undecided: shares of all texts, together 1.
        neutral: that part of ``undecided`` in which good and bad words balance.
    """

    texts: tuple[TextSentiment, ...]
    score: float
    positive: float
    negative: float
    undecided: float
    neutral: float

    @property
    def coverage(self) -> float:
        """Share of the texts that the lexicon decided."""
        return 1.0 - self.undecided

    @property
    def confidence(self) -> float:
        """Share of the texts whose sign is expected to be right."""
        return self.coverage * ACCURACY_WHEN_DECIDED


def score_texts(texts: tuple[str, ...], *, check: Check) -> Sentiment:
    """Score each text; ``check`` is asked between batches whether to go on."""
    found = tuple(
        score_text(text, check=check) for text in in_batches(texts, check=check)
    )
    labels = [finding.label for finding in found]
    share = {label: labels.count(label) / len(found) for label in set(labels)}
    neutral = share.get("neutral", 0.0)
    return Sentiment(
        texts=found,
        score=sum(finding.score for finding in found) / len(found),
        positive=share.get("positive", 0.0),
        negative=share.get("negative", 0.0),
        undecided=share.get("undecided", 0.0) + neutral,
        neutral=neutral,
    )


def score_text(text: str, *, check: Check) -> TextSentiment:
    """Score one text; a long one is scored by sentences and averaged."""
    parts = sentences(text) if len(text) > _SENTENCE_BY_SENTENCE_FROM else [text]
    scores = [_polarity(part) for part in in_batches(parts, check=check)]
    return TextSentiment(
        score=sum(each["compound"] for each in scores) / len(scores),
        has_known_words=any(each["pos"] or each["neg"] for each in scores),
    )


def _polarity(sentence: str) -> dict[str, float]:
    """Return compound (-1.0 to 1.0) and the shares neg, neu and pos."""
    scores: dict[str, float] = _analyser().polarity_scores(  # type: ignore[no-untyped-call]  # the library has no types
        sentence
    )
    return scores


@lru_cache(maxsize=1)
def _analyser() -> SentimentIntensityAnalyzer:
    """Return the one analyser of this process; its lexicon is read once.

    Two threads that ask at the same instant may read it twice; that does no harm.
    """
    return SentimentIntensityAnalyzer()  # type: ignore[no-untyped-call]  # the library has no types
