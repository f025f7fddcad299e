"""What the analyst says of a table's columns: statistics, groups, relations."""

from __future__ import annotations

from arms.contract import Capability
from arms.services import schemas
from arms.services.analyst import dates, measures, quality, relations, spread
from arms.services.analyst.capabilities.shared import (
    COLUMNS as NAMES,
)
from arms.services.analyst.capabilities.shared import (
    COVERAGE,
    CUT,
    METHOD,
    OUT_TABLE,
    QUESTION,
    ROW_COUNT,
    TABLE,
    choice,
    names,
    nullable,
)

_FUNCTIONS = (*measures.FUNCTIONS, "count")
_OF_TABLE = {"row_count": ROW_COUNT, "coverage": COVERAGE, "method": METHOD}
_ROW = schemas.count("Which row, counted from 1 without the header.", minimum=1)

_DESCRIBE = Capability(
    name="describe_table",
    description="Describe each column of a table: kind, missing values, statistics.",
    input_schema=schemas.record({"table": TABLE}, required=("table",)),
    output_schema=schemas.record(
        {
            "columns": schemas.array(
                schemas.anything(
                    "name, type, count, missing, distinct; for numbers sum, mean, "
                    "median, min, max, stdev; for text the most frequent values."
                )
            ),
            "row_count": schemas.count(),
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=2.0,
)
_AGGREGATE = Capability(
    name="aggregate",
    synonyms=("aggregation",),
    description="Group the rows of a table and compute sums, means, counts, extremes.",
    input_schema=schemas.record(
        {
            "table": TABLE,
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
            "coverage": COVERAGE,
            "method": METHOD,
        }
    ),
    seconds=2.0,
)
_PIVOT = Capability(
    name="pivot",
    description="Cross two columns of a table: counts, or a measure, per pair.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "rows": names("Column whose values become rows."),
            "columns": names("Column whose values become columns."),
            "value": names("Column to measure; rows are counted if unset."),
            "function": choice(_FUNCTIONS, "sum if unset."),
            "question": QUESTION,
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            **OUT_TABLE,
            "rows": schemas.text("The column down the side."),
            "columns": schemas.text("The column across the top."),
            "measure": schemas.text("What the cells hold."),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_OUTLIERS = Capability(
    name="outliers",
    description="Find numbers that lie far from the rest of their column.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "columns": NAMES,
            "rule": choice(spread.RULES, "Quartiles (iqr, if unset) or median."),
            "question": QUESTION,
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            "columns": schemas.array(
                schemas.record(
                    {
                        "name": schemas.text(),
                        "count": schemas.count("Numbers in it."),
                        "low": nullable(schemas.number("Below it is an outlier.")),
                        "high": nullable(schemas.number("Above it is an outlier.")),
                        "outlier_count": schemas.count(),
                    }
                ),
                "Low and high are null where the rule cannot judge.",
            ),
            "outliers": schemas.array(
                schemas.record(
                    {
                        "row": _ROW,
                        "column": schemas.text(),
                        "value": schemas.number(),
                    }
                )
            ),
            "outliers_cut": CUT,
            "count": schemas.count("Outliers in all columns."),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_DISTRIBUTION = Capability(
    name="distribution",
    description="Percentiles and a histogram of each column of numbers.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "columns": NAMES,
            "bins": schemas.count("How many, by the number of rows if unset."),
            "question": QUESTION,
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            "columns": schemas.array(
                schemas.record(
                    {
                        "name": schemas.text(),
                        "count": schemas.count("Numbers in it."),
                        "min": schemas.number(),
                        "max": schemas.number(),
                        "percentiles": schemas.mapping(
                            nullable(schemas.number()), "p5 p10 p25 p50 p75 p90 p95."
                        ),
                        "bins": schemas.array(
                            schemas.record(
                                {
                                    "low": schemas.number(),
                                    "high": schemas.number(),
                                    "count": schemas.count(),
                                }
                            )
                        ),
                    }
                )
            ),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_PAIR = schemas.record(
    {
        "a": schemas.text(),
        "b": schemas.text(),
        "coefficient": nullable(schemas.number(minimum=-1, maximum=1)),
        "count": schemas.count("Rows in which both are numbers."),
    }
)
_CORRELATE = Capability(
    name="correlate",
    synonyms=("correlation",),
    description="Correlate the columns of numbers of a table by pairs.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "columns": NAMES,
            "rule": choice(relations.RULES, "pearson if unset; spearman uses ranks."),
            "question": QUESTION,
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            "pairs": schemas.array(_PAIR, "The strongest first."),
            "pairs_cut": schemas.boolean("Whether only 30 columns were paired."),
            "strongest": nullable(_PAIR),
            **_OF_TABLE,
        }
    ),
    seconds=3.0,
)
_TREND = Capability(
    name="trend",
    description="Follow a table's column over time: per period, slope, change.",
    input_schema=schemas.record(
        {
            "table": TABLE,
            "date": names("Column of dates; the first that holds any if unset."),
            "value": names("Column to measure; the first of numbers if unset."),
            "period": choice(dates.PERIODS, "By the span of the dates if unset."),
            "function": choice(_FUNCTIONS, "sum if unset."),
            "question": QUESTION,
        },
        required=("table",),
    ),
    output_schema=schemas.record(
        {
            "periods": schemas.array(
                schemas.record(
                    {
                        "period": schemas.text("2024-05-01, 2024-W18, 2024-05 …"),
                        "count": schemas.count("Rows in it."),
                        "value": nullable(schemas.number()),
                    }
                ),
                "In order; those without rows are left out.",
            ),
            "periods_cut": CUT,
            "value": schemas.text("What was measured."),
            "period": schemas.one_of(dates.PERIODS),
            "slope": nullable(schemas.number("Change per period of a fitted line.")),
            "direction": schemas.one_of(("rising", "falling", "flat", "unknown")),
            "change": nullable(schemas.number("Last value less the first.")),
            "change_share": nullable(schemas.number("That, by the first value.")),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)
_CHECK_TABLE = Capability(
    name="check_table",
    description="Look for what is wrong with a table: missing values, texts among "
    "numbers, other spellings, repeated rows and identifiers.",
    input_schema=schemas.record({"table": TABLE}, required=("table",)),
    output_schema=schemas.record(
        {
            "is_clean": schemas.boolean("Whether no problem was found."),
            "problems": schemas.array(
                schemas.record(
                    {
                        "problem": schemas.one_of(quality.PROBLEMS),
                        "column": schemas.text("Empty for whole rows."),
                        "count": schemas.count("Rows it is in."),
                        "rows": schemas.array(_ROW, "The first 20."),
                    }
                )
            ),
            "problems_cut": CUT,
            "missing_count": schemas.count("Missing cells."),
            "duplicate_count": schemas.count("Rows that stood before."),
            "column_count": schemas.count(),
            **_OF_TABLE,
        }
    ),
    seconds=2.0,
)

COLUMNS = (
    _DESCRIBE,
    _AGGREGATE,
    _PIVOT,
    _OUTLIERS,
    _DISTRIBUTION,
    _CORRELATE,
    _TREND,
    _CHECK_TABLE,
)
