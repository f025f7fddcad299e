"""What the analyst does with JSON."""

from __future__ import annotations

from arms.contract import Capability
from arms.services import schemas
from arms.services.analyst.capabilities.shared import CUT, METHOD, OUT_TABLE

_DATA = schemas.anything("Any JSON value; a text is read as JSON.")

_VALIDATE = Capability(
    name="validate_json",
    description="Check a JSON value against a JSON schema.",
    input_schema=schemas.record(
        {"data": _DATA, "schema": schemas.anything("The schema, or its JSON text.")},
        required=("data", "schema"),
    ),
    output_schema=schemas.record(
        {
            "is_valid": schemas.boolean(),
            "errors": schemas.array(
                schemas.record(
                    {
                        "path": schemas.text("Where; empty for the whole."),
                        "message": schemas.text(),
                        "rule": schemas.text("Keyword, or json if it is none."),
                    }
                )
            ),
            "errors_cut": CUT,
            "error_count": schemas.count("At most 10,000 are counted."),
            "method": METHOD,
        }
    ),
    seconds=1.0,
)
_DESCRIBE = Capability(
    name="describe_json",
    description="Describe a JSON value path by path: types, counts, examples.",
    input_schema=schemas.record({"data": _DATA}, required=("data",)),
    output_schema=schemas.record(
        {
            "paths": schemas.array(
                schemas.record(
                    {
                        "path": schemas.text("Such as orders[].price."),
                        "types": schemas.array(schemas.text()),
                        "count": schemas.count("Values that stand there."),
                        "example": schemas.anything("The first that is plain."),
                    }
                ),
                "At most 1,000.",
            ),
            "paths_cut": CUT,
            "depth": schemas.count("Levels of objects and lists."),
            "value_count": schemas.count("Values in all."),
            "method": METHOD,
        }
    ),
    seconds=1.0,
)
_FLATTEN = Capability(
    name="flatten_json",
    description="Lay nested JSON records flat, as a table with keys such as user.name.",
    input_schema=schemas.record({"data": _DATA}, required=("data",)),
    output_schema=schemas.record(
        {
            **OUT_TABLE,
            "row_count": schemas.count("Records."),
            "method": METHOD,
        }
    ),
    seconds=1.0,
)

JSON_VALUES = (_VALIDATE, _DESCRIBE, _FLATTEN)
