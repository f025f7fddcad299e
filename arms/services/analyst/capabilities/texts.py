"""What the analyst does with texts: search, choose, mask, count, cut, put in order."""

from __future__ import annotations

from arms.contract import Capability
from arms.services import schemas
from arms.services.analyst import concealing, languages, readability
from arms.services.analyst.capabilities.shared import (
    COUNT,
    COVERAGE,
    CUT,
    INDEX,
    METHOD,
    OUT_TEXTS,
    PLACE,
    TEXTS,
    choice,
    names,
    nullable,
)
from arms.services.analyst.parts import SPLITTERS

_QUOTED = schemas.text("Read for words in quotation marks if none are given.")
_PATTERN = schemas.text("A regular expression of RE2, looked for line by line.")
_ENDING = {"coverage": COVERAGE, "method": METHOD}

_REDACT = Capability(
    name="redact",
    synonyms=("redaction",),
    description="Mask personal data and secrets in texts for good, such as [EMAIL].",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "kinds": names(f"{', '.join(concealing.KINDS)}; all if unset."),
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TEXTS,
            "counts": schemas.mapping(schemas.count(), "Masks per kind."),
            "count": schemas.count("Masks in all texts."),
            **_ENDING,
        }
    ),
    seconds=2.0,
)
_FIND = Capability(
    name="find",
    description="Find where words, phrases or a pattern stand in texts.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "terms": names("Words or phrases; batter* is every word that begins so."),
            "pattern": _PATTERN,
            "question": _QUOTED,
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "matches": schemas.array(
                schemas.record(
                    {
                        "term": schemas.text("What was looked for."),
                        "value": schemas.text("What stands there."),
                        **PLACE,
                        "around": schemas.text("It with some words around it."),
                    }
                ),
                "At most 1,000.",
            ),
            "matches_cut": CUT,
            "counts": schemas.mapping(schemas.count(), "Places per term."),
            "count": schemas.count("Places of all terms."),
            "text_count": schemas.count("Texts that hold any."),
            **_ENDING,
        }
    ),
    seconds=2.0,
)
_FILTER = Capability(
    name="filter_texts",
    description="Keep the texts that contain words or match a pattern, or lack words.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "contains": names("Words or phrases; batter* is a beginning."),
            "lacks": names("Words that no kept text may hold."),
            "pattern": _PATTERN,
            "match": choice(("any", "all"), "Of contains; any if unset."),
            "question": _QUOTED,
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TEXTS,
            "kept_count": schemas.count(),
            "left_out_count": schemas.count(),
            "count": COUNT,
            **_ENDING,
        }
    ),
    seconds=2.0,
)
_FREQUENCY = Capability(
    name="frequency",
    description="Count how often words or phrases occur in texts: all, or given ones.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "terms": names("Words or phrases to count; all words if unset."),
            "words": schemas.count("Words per phrase if terms is unset, 1 to 3."),
            "limit": schemas.count("How many if terms is unset, 20 if unset."),
            "question": _QUOTED,
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "frequencies": schemas.array(
                schemas.record(
                    {
                        "term": schemas.text(),
                        "count": schemas.count("Places."),
                        "texts": schemas.count("Texts that hold it."),
                        "share": schemas.number("Of all words.", minimum=0),
                    }
                ),
                "The most frequent first.",
            ),
            "frequencies_cut": CUT,
            "word_count": schemas.count("Words in all texts."),
            "count": COUNT,
            **_ENDING,
        }
    ),
    seconds=3.0,
)
_TIMELINE = Capability(
    name="timeline",
    description="Put the dates that texts name in order, each with its sentence.",
    input_schema=schemas.record({"texts": TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "events": schemas.array(
                schemas.record(
                    {
                        "date": schemas.text("ISO 8601."),
                        "value": schemas.text("As written."),
                        **PLACE,
                        "sentence": schemas.text("What stands around it."),
                    }
                ),
                "In order, at most 1,000.",
            ),
            "events_cut": CUT,
            "first": nullable(schemas.text("The earliest date.")),
            "last": nullable(schemas.text("The latest date.")),
            "ambiguous_count": schemas.count("Dates that can be read in two ways."),
            "count": schemas.count("Dates in order."),
            **_ENDING,
        }
    ),
    seconds=2.0,
)
_COUNTED = {
    "characters": schemas.count(),
    "words": schemas.count(),
    "sentences": schemas.count(),
}
_COUNTS = schemas.record({"index": INDEX, **_COUNTED})
_STATISTICS = Capability(
    name="text_statistics",
    description="Count characters, words, sentences and paragraphs of texts.",
    input_schema=schemas.record({"texts": TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "count": COUNT,
            **_COUNTED,
            "unique_words": schemas.count("Different words in all texts."),
            "paragraphs": schemas.count(),
            "words_per_text": schemas.number(minimum=0),
            "words_per_sentence": schemas.number(minimum=0),
            "reading_minutes": schemas.number("At 238 words a minute.", minimum=0),
            "longest": _COUNTS,
            "shortest": _COUNTS,
            "items": schemas.array(_COUNTS, "One per text, at most 1,000."),
            "items_cut": CUT,
            **_ENDING,
        }
    ),
    seconds=2.0,
)
_READABILITY = Capability(
    name="readability",
    description="Compute how hard English texts are to read (Flesch, Flesch-Kincaid).",
    input_schema=schemas.record({"texts": TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "reading_ease": nullable(schemas.number("60 to 70 is plain English.")),
            "grade": nullable(schemas.number("Years of school it takes.")),
            "label": nullable(schemas.text(", ".join(readability.LABELS))),
            "words_per_sentence": nullable(schemas.number(minimum=0)),
            "syllables_per_word": nullable(schemas.number(minimum=0)),
            "items": schemas.array(
                schemas.record(
                    {
                        "index": INDEX,
                        "reading_ease": nullable(schemas.number()),
                        "grade": nullable(schemas.number()),
                    }
                ),
                "One per text, at most 1,000; null for those not in English.",
            ),
            "items_cut": CUT,
            "count": COUNT,
            **_ENDING,
        }
    ),
    seconds=3.0,
)
_LANGUAGE = Capability(
    name="language",
    synonyms=("detect_language", "language_detection"),
    description="Tell which language texts are in: ISO 639-1 codes.",
    input_schema=schemas.record({"texts": TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "language": nullable(schemas.text("Of most texts that were decided.")),
            "languages": schemas.mapping(
                schemas.count(), f"Texts per language, of {', '.join(languages.CODES)}."
            ),
            "items": schemas.array(
                schemas.record(
                    {
                        "index": INDEX,
                        "language": nullable(schemas.text()),
                        "certainty": schemas.number(
                            "How far ahead of the next.", minimum=0, maximum=1
                        ),
                    }
                ),
                "One per text, at most 1,000.",
            ),
            "items_cut": CUT,
            "undecided": schemas.count("Texts too short, mixed, or in another one."),
            "count": COUNT,
            **_ENDING,
        }
    ),
    seconds=2.0,
)
_SPLIT = Capability(
    name="split",
    description="Cut texts into sentences, paragraphs or sections with headings.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "into": choice(tuple(SPLITTERS), "paragraphs if nothing says."),
            "question": schemas.text("Read for one of those words."),
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            "parts": schemas.array(
                schemas.record(
                    {
                        "index": INDEX,
                        "number": schemas.count("In its text, from 1.", minimum=1),
                        "heading": schemas.text("Of a section, or empty."),
                        "text": schemas.text(),
                    }
                ),
                "At most 1,000; may go into any capability that takes texts.",
            ),
            "parts_cut": CUT,
            "count": schemas.count("Parts of all texts."),
            "into": schemas.one_of(tuple(SPLITTERS)),
            **_ENDING,
        }
    ),
    seconds=1.0,
)
_CHECKSUM = Capability(
    name="checksum",
    description="Take an inventory of texts: sizes, lines and SHA-256 sums.",
    input_schema=schemas.record({"texts": TEXTS}, required=("texts",)),
    output_schema=schemas.record(
        {
            "items": schemas.array(
                schemas.record(
                    {
                        "index": INDEX,
                        "sha256": nullable(
                            schemas.text("Null where values are concealed.")
                        ),
                        "characters": schemas.count(),
                        "bytes": schemas.count("In UTF-8."),
                        "lines": schemas.count(),
                    }
                ),
                "One per text, at most 1,000.",
            ),
            "items_cut": CUT,
            "count": COUNT,
            "distinct_count": schemas.count("Different texts."),
            "bytes": schemas.count("Of all texts."),
            **_ENDING,
        }
    ),
    seconds=1.0,
)
_DEDUPLICATE = Capability(
    name="deduplicate_texts",
    description="Remove texts that repeat an earlier one, exactly or nearly.",
    input_schema=schemas.record(
        {
            "texts": TEXTS,
            "similarity": schemas.number(
                "From which on texts are near duplicates, 0.8 if unset.",
                minimum=0.5,
                maximum=1,
            ),
        },
        required=("texts",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TEXTS,
            "groups": schemas.array(
                schemas.record(
                    {
                        "kept": INDEX,
                        "duplicates": schemas.array(
                            schemas.record(
                                {
                                    "index": INDEX,
                                    "similarity": schemas.number(minimum=0, maximum=1),
                                }
                            )
                        ),
                    }
                ),
                "Texts that were repeated, at most 1,000.",
            ),
            "groups_cut": CUT,
            "exact_count": schemas.count("Removed as the same."),
            "near_count": schemas.count("Removed as nearly the same."),
            "kept_count": schemas.count(),
            "count": COUNT,
            **_ENDING,
        }
    ),
    seconds=5.0,
)
_DIFF = Capability(
    name="diff",
    synonyms=("difference",),
    description="Show line by line what was added and removed between two texts.",
    input_schema=schemas.record(
        {
            "a": schemas.anything("The old text, list or object."),
            "b": schemas.anything("The new text, list or object."),
        },
        required=("a", "b"),
    ),
    output_schema=schemas.record(
        {
            "diff": schemas.text("A unified diff."),
            "diff_cut": schemas.boolean("Whether it lacks the last lines."),
            "added_count": schemas.count("Lines only b has."),
            "removed_count": schemas.count("Lines only a has."),
            "unchanged_count": schemas.count("Lines of both."),
            "is_same": schemas.boolean(),
            "method": METHOD,
        }
    ),
    seconds=2.0,
)

SEARCHING = (_REDACT, _FIND, _FILTER, _FREQUENCY, _TIMELINE)
FORMS = (_STATISTICS, _READABILITY, _LANGUAGE, _SPLIT, _CHECKSUM)
LIKENESS = (_DEDUPLICATE, _DIFF)
