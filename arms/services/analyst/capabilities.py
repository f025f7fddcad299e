"""The analyst's catalogue entry: what each capability takes and gives."""

from __future__ import annotations

from arms.contract import ArmSpec, Capability
from arms.services import schemas

_TEXTS = schemas.anything(
    "A list of strings, or of objects with a field text, review, body, content, "
    "comment or message; a single string counts as one text."
)
_TABLE = schemas.anything(
    "CSV with a header line, a list of objects, or {columns: [...], rows: [[...]]}."
)
_METHOD = schemas.text("How it was done, what was left out and why.")
_COVERAGE = schemas.number(
    "Share of the input that the method could decide or use.", minimum=0, maximum=1
)
_SHARE = schemas.number("Share of all texts.", minimum=0, maximum=1)
_PLACE = {
    "index": schemas.count("Which text, counted from 0."),
    "start": schemas.count("Offset of the first character in that text."),
    "end": schemas.count("Offset after the last character."),
}

_SENTIMENT = Capability(
    name="sentiment",
    description="Score the sentiment of English texts with a lexicon.",
    input_schema=schemas.record({"texts": _TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "sentiment_score": schemas.number(
                "Mean compound score of all texts.", minimum=-1, maximum=1
            ),
            "positive": _SHARE,
            "negative": _SHARE,
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
            "coverage": _COVERAGE,
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
            "method": _METHOD,
        }
    ),
    seconds=2.0,
)
_SUMMARISE = Capability(
    name="summarise",
    description="Pick the sentences that say most about the texts.",
    input_schema=schemas.record(
        {"texts": _TEXTS, "sentences": schemas.count("How many, 5 if unset.")},
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "summary": schemas.text("The chosen sentences in their original order."),
            "sentences": schemas.array(
                schemas.record(
                    {
                        "text": schemas.text(),
                        "index": _PLACE["index"],
                        "score": schemas.number(minimum=0),
                    }
                )
            ),
            "coverage": _COVERAGE,
            "method": _METHOD,
        }
    ),
    seconds=3.0,
)
_KEYWORDS = Capability(
    name="keywords",
    description="Find the words and phrases the texts are about.",
    input_schema=schemas.record(
        {"texts": _TEXTS, "limit": schemas.count("How many, 10 if unset.")},
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
            "coverage": _COVERAGE,
            "method": _METHOD,
        }
    ),
    seconds=2.0,
)
_CLASSIFY = Capability(
    name="classify",
    description="Label texts by words given for each label.",
    input_schema=schemas.record(
        {
            "texts": _TEXTS,
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
            "coverage": _COVERAGE,
            "method": _METHOD,
        }
    ),
    seconds=1.0,
)
_DESCRIBE = Capability(
    name="describe_table",
    description="Describe each column of a table: kind, missing values, statistics.",
    input_schema=schemas.record({"table": _TABLE}, required=("table",)),
    output_schema=schemas.record(
        {
            "columns": schemas.array(
                schemas.anything(
                    "name, type, count, missing, distinct; for numbers sum, mean, "
                    "median, min, max, stdev; for text the most frequent values."
                )
            ),
            "row_count": schemas.count(),
            "coverage": _COVERAGE,
            "method": _METHOD,
        }
    ),
    seconds=2.0,
)
_AGGREGATE = Capability(
    name="aggregate",
    description="Group the rows of a table and compute sums, means, counts, extremes.",
    input_schema=schemas.record(
        {
            "table": _TABLE,
            "group_by": schemas.anything("A column's name, or a list of them."),
            "measures": schemas.array(
                schemas.record(
                    {
                        "column": schemas.text(),
                        "function": schemas.one_of(
                            ("sum", "mean", "median", "count", "min", "max")
                        ),
                    },
                    required=("column", "function"),
                ),
                "If unset: count, and sum and mean of every column of numbers.",
            ),
            "question": schemas.text(
                "Words that name columns and measures, such as “average price by "
                "region”; used for what group_by and measures leave open."
            ),
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            "groups": schemas.array(
                schemas.record(
                    {
                        "group": schemas.mapping(schemas.anything()),
                        "count": schemas.count("Rows in the group."),
                        "measures": schemas.mapping(
                            schemas.anything(), "Such as {“mean of price”: 9.5}."
                        ),
                    }
                ),
                "The largest first, at most 1,000.",
            ),
            "groups_cut": schemas.boolean("Whether groups lists only the first."),
            "row_count": schemas.count(),
            "coverage": _COVERAGE,
            "method": _METHOD,
        }
    ),
    seconds=2.0,
)
_EXTRACT = Capability(
    name="extract",
    description="Find e-mail addresses, dates and amounts of money in texts.",
    input_schema=schemas.record(
        {
            "texts": _TEXTS,
            "kinds": schemas.array(
                schemas.one_of(("emails", "dates", "money")), "All if unset."
            ),
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "emails": schemas.array(
                schemas.record({"value": schemas.text(), **_PLACE})
            ),
            "dates": schemas.array(
                schemas.record(
                    {
                        "value": schemas.text("As written."),
                        "date": schemas.anything(
                            "ISO 8601, or null when day and month cannot be told apart."
                        ),
                        **_PLACE,
                    }
                )
            ),
            "money": schemas.array(
                schemas.record(
                    {
                        "value": schemas.text("As written."),
                        "amount": schemas.text("A decimal number."),
                        "currency": schemas.text("ISO 4217."),
                        **_PLACE,
                    }
                )
            ),
            "count": schemas.count("How many were found."),
            "found_cut": schemas.boolean("Whether a list holds only the first 1,000."),
            "coverage": _COVERAGE,
            "method": _METHOD,
        }
    ),
    seconds=1.0,
)
_COMPARE = Capability(
    name="compare",
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
            "method": _METHOD,
        }
    ),
    seconds=1.0,
)

# It computes in this process and sends nothing anywhere, so it may work on personal
# values that texts hold; secrets and numbers of cards and insurances help no analysis.
SPEC = ArmSpec(
    name="analyst",
    version="1.0",
    description="Works on texts and tables with lexicon, rules and statistics.",
    capabilities=(
        _SENTIMENT,
        _SUMMARISE,
        _KEYWORDS,
        _CLASSIFY,
        _DESCRIBE,
        _AGGREGATE,
        _EXTRACT,
        _COMPARE,
    ),
    sees=frozenset({"EMAIL", "PHONE", "IP", "IBAN"}),
    is_repeatable=True,
    synonyms=("analysis", "analyzer", "analyser", "data_analyst", "text_analyst"),
)
