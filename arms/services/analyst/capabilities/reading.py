"""What the analyst finds in texts: opinions, topics, labels, facts."""

from __future__ import annotations

from arms.contract import Capability
from arms.services import schemas
from arms.services.analyst.capabilities.shared import (
    COVERAGE,
    METHOD,
    PLACE,
    SHARE,
    TEXTS,
)

_SENTIMENT = Capability(
    name="sentiment",
    synonyms=("sentiment_analysis",),
    description="Score the sentiment of English texts with a lexicon.",
    input_schema=schemas.record({"texts": TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "sentiment_score": schemas.number(
                "Mean compound score of all texts.", minimum=-1, maximum=1
            ),
            "positive": SHARE,
            "negative": SHARE,
            "undecided": schemas.number(
                "Share of all texts with a score nearer to 0 than 0.05; positive, "
                "negative and undecided sum to 1.",
                minimum=0,
                maximum=1,
            ),
            "neutral": schemas.number(
                "That part of undecided in which good and bad words balance; in the "
                "rest the lexicon knows no word.",
                minimum=0,
                maximum=1,
            ),
            "count": schemas.count("How many texts were scored."),
            "coverage": COVERAGE,
            "items": schemas.array(
                schemas.record(
                    {
                        "index": schemas.count(),
                        "score": schemas.number(minimum=-1, maximum=1),
                        "label": schemas.one_of(
                            ("positive", "negative", "neutral", "undecided")
                        ),
                    }
                ),
                "One per text, at most 1,000.",
            ),
            "items_cut": schemas.boolean("Whether items lists only the first."),
            "method": METHOD,
        }
    ),
    seconds=2.0,
)
_SUMMARISE = Capability(
    name="summarise",
    synonyms=("summarize", "summary", "summarization", "summarisation"),
    description="Pick the sentences that say most about the texts.",
    input_schema=schemas.record(
        {"texts": TEXTS, "sentences": schemas.count("How many, 5 if unset.")},
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "summary": schemas.text("The chosen sentences in their original order."),
            "sentences": schemas.array(
                schemas.record(
                    {
                        "text": schemas.text(),
                        "index": PLACE["index"],
                        "score": schemas.number(minimum=0),
                    }
                )
            ),
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=3.0,
)
_KEYWORDS = Capability(
    name="keywords",
    synonyms=("keyword_extraction", "extract_keywords"),
    description="Find the words and phrases the texts are about.",
    input_schema=schemas.record(
        {"texts": TEXTS, "limit": schemas.count("How many, 10 if unset.")},
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "keywords": schemas.array(
                schemas.record(
                    {
                        "keyword": schemas.text(),
                        "score": schemas.number("1 is the best.", minimum=0, maximum=1),
                        "count": schemas.count("How often it occurs."),
                    }
                )
            ),
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=2.0,
)
_CLASSIFY = Capability(
    name="classify",
    synonyms=("classification",),
    description="Label texts by words given for each label.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "rules": schemas.mapping(
                schemas.array(schemas.text()),
                "For each label the words or phrases that call for it; batter* "
                "means every word that starts so.",
            ),
        },
        required=("texts", "rules"),
    ),
    output_schema=schemas.record(
        {
            "labels": schemas.mapping(schemas.count(), "Texts per label."),
            "items": schemas.array(
                schemas.record(
                    {
                        "index": schemas.count(),
                        "labels": schemas.array(schemas.text()),
                        "matched": schemas.array(schemas.text()),
                    }
                ),
                "One per text, at most 1,000.",
            ),
            "items_cut": schemas.boolean("Whether items lists only the first."),
            "undecided": schemas.count("Texts that no rule matches."),
            "count": schemas.count("How many texts were read."),
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=1.0,
)
_EXTRACT = Capability(
    name="extract",
    synonyms=("extraction",),
    description="Find e-mail addresses, dates and amounts of money in texts.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "kinds": schemas.array(
                schemas.one_of(("emails", "dates", "money")), "All if unset."
            ),
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "emails": schemas.array(schemas.record({"value": schemas.text(), **PLACE})),
            "dates": schemas.array(
                schemas.record(
                    {
                        "value": schemas.text("As written."),
                        "date": schemas.anything(
                            "ISO 8601, or null when day and month cannot be told apart."
                        ),
                        **PLACE,
                    }
                )
            ),
            "money": schemas.array(
                schemas.record(
                    {
                        "value": schemas.text("As written."),
                        "amount": schemas.text("A decimal number."),
                        "currency": schemas.text("ISO 4217."),
                        **PLACE,
                    }
                )
            ),
            "count": schemas.count("How many were found."),
            "found_cut": schemas.boolean("Whether a list holds only the first 1,000."),
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=1.0,
)
_COMPARE = Capability(
    name="compare",
    synonyms=("comparison",),
    description="Compare two texts or lists: how alike, what only one of them has.",
    input_schema=schemas.record(
        {
            "a": schemas.anything("A text, a list, or an object."),
            "b": schemas.anything("A text, a list, or an object."),
        },
        required=("a", "b"),
    ),
    output_schema=schemas.record(
        {
            "similarity": schemas.number("1 is the same words.", minimum=0, maximum=1),
            "only_in_a": schemas.array(schemas.text()),
            "only_in_b": schemas.array(schemas.text()),
            "shared": schemas.array(schemas.text()),
            "lists_cut": schemas.boolean("Whether a list holds only the first 500."),
            "method": METHOD,
        }
    ),
    seconds=1.0,
)

READING = (_SENTIMENT, _SUMMARISE, _KEYWORDS, _CLASSIFY, _EXTRACT, _COMPARE)
