"""Pieces of schemas that many of the analyst's capabilities have."""

from __future__ import annotations

from collections.abc import Sequence

from arms.services import schemas
from octollm.types import JSONObject

TEXTS = schemas.anything(
    "A list of strings, or of objects with a field text, review, body, content, "
    "comment or message; a single string counts as one text."
)
TABLE = schemas.anything(
    "CSV with a header line, a list of objects, or {columns: [...], rows: [[...]]}."
)
METHOD = schemas.text("How it was done, what was left out and why.")
COVERAGE = schemas.number(
    "Share of the input that the method could decide or use.", minimum=0, maximum=1
)
SHARE = schemas.number("Share of all texts.", minimum=0, maximum=1)
INDEX = schemas.count("Which text, counted from 0.")
PLACE = {
    "index": INDEX,
    "start": schemas.count("Offset of the first character in that text."),
    "end": schemas.count("Offset after the last character."),
}

CUT = schemas.boolean("Whether the list holds only the first.")
ROW_COUNT = schemas.count("Rows of the table that came in.")
COUNT = schemas.count("How many texts were read.")
QUESTION = schemas.text(
    "The goal in words; read for what the other keys leave open, such as the columns."
)
COLUMNS = schemas.anything("Names of columns, a list or one; by default all that fit.")
OUT_TABLE = {
    "table": schemas.record(
        {
            "columns": schemas.array(schemas.text()),
            "rows": schemas.array(schemas.array(schemas.anything())),
        },
        required=("columns", "rows"),
        description="May go into any capability that takes a table.",
    ),
    "table_cut": schemas.boolean("Whether the table holds only the first rows."),
}
OUT_TEXTS = {
    "texts": schemas.array(
        schemas.record({"index": INDEX, "text": schemas.text()}),
        "At most 1,000; may go into any capability that takes texts.",
    ),
    "texts_cut": schemas.boolean("Whether the texts are only the first, or cut."),
}


def names(description: str) -> JSONObject:
    """Return the schema of one text or a list of them."""
    return {"type": ["string", "array"], "description": description}


def choice(choices: Sequence[str], description: str) -> JSONObject:
    """Return the schema of one of a fixed set, as a text or a list of one."""
    known = ", ".join(choices)
    return {"type": ["string", "array"], "description": f"{known}. {description}"}


def nullable(schema: JSONObject) -> JSONObject:
    """Return the schema of the same value, or null where there is none."""
    return schema | {"type": [schema["type"], "null"]}
