"""What the analyst does with a table's rows: choose, order, join, write otherwise."""

from __future__ import annotations

from arms.contract import Capability
from arms.services import schemas
from arms.services.analyst import conditions, joining, ordering, writing
from arms.services.analyst.capabilities.shared import (
    COVERAGE,
    CUT,
    METHOD,
    OUT_TABLE,
    ROW_COUNT,
    TABLE,
    choice,
    names,
)

_OF_TABLE = {"row_count": ROW_COUNT, "coverage": COVERAGE, "method": METHOD}
_ROW = schemas.count("Which row, counted from 1 without the header.", minimum=1)

_FILTER = Capability(
    name="filter_rows",
    description="Keep the rows of a table that meet conditions.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "where": schemas.array(
                schemas.record(
                    {
                        "column": schemas.text(),
                        "operator": schemas.one_of(conditions.OPERATORS),
                        "value": schemas.anything("None for missing and present."),
                    },
                    required=("column",),
                ),
                "The conditions; an operator that is not given is =.",
            ),
            "match": choice(("all", "any"), "all if unset."),
            "question": schemas.text(
                "Read for conditions if where is unset, such as “rows where price is "
                "over 100 and region is north”."
            ),
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TABLE,
            "kept_count": schemas.count("Rows that meet them."),
            "left_out_count": schemas.count("Rows that do not."),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_SORT = Capability(
    name="sort_rows",
    description="Put a table's rows in order; with a limit, the top or bottom ones.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "by": names("Columns, the most important first."),
            "order": choice(ordering.ORDERS, "ascending if unset."),
            "limit": schemas.count("How many rows to give back."),
            "question": schemas.text(
                "Read for what is unset, such as “top 5 products by price”."
            ),
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TABLE,
            "by": schemas.array(schemas.text()),
            "order": schemas.one_of(ordering.ORDERS),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_DEDUPLICATE = Capability(
    name="deduplicate_rows",
    description="Remove rows that stand in a table before, by chosen columns or all.",
    input_schema=schemas.record(
        {"table": TABLE, "columns": names("What makes rows the same; all if unset.")},
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TABLE,
            "groups": schemas.array(
                schemas.record({"kept": _ROW, "duplicates": schemas.array(_ROW)}),
                "Rows that are the same, at most 1,000 groups.",
            ),
            "groups_cut": CUT,
            "kept_count": schemas.count(),
            "duplicate_count": schemas.count("Rows removed."),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_JOIN = Capability(
    name="join",
    description="Join two tables by the columns they share, or by those named.",
    input_schema=schemas.record(
        {
            "left": TABLE,
            "right": TABLE,
            "on": names("Columns of both; those of the same name if unset."),
            "how": choice(joining.HOW, "inner if unset."),
        },
        required=("left", "right"),
    ),
    output_schema=schemas.record(
        {
            **OUT_TABLE,
            "on": schemas.array(schemas.text()),
            "matched_count": schemas.count("Pairs of rows with the same key."),
            "only_left_count": schemas.count("Left rows without a partner."),
            "only_right_count": schemas.count("Right rows without a partner."),
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=2.0,
)
_CONVERT = Capability(
    name="convert",
    description="Write a table as CSV, JSON rows or a Markdown table.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "to": choice(
                writing.FORMATS, "json if neither this nor the question says."
            ),
            "question": schemas.text("Read for the format, such as “to CSV”."),
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            "text": schemas.text("The table as text."),
            "format": schemas.one_of(writing.FORMATS),
            "text_cut": schemas.boolean("Whether the text lacks the last rows."),
            **_OF_TABLE,
        }
    ),
    seconds=1.0,
)

ROWS = (_FILTER, _SORT, _DEDUPLICATE, _JOIN, _CONVERT)
