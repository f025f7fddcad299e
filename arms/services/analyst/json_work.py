"""The analyst's work on JSON: checked against a schema, described, laid flat."""

from __future__ import annotations

import json
from collections.abc import Mapping

from arms.services.analyst import json_values, schema_check
from arms.services.analyst.analysis import Analysis, Work, remarks
from arms.services.analyst.bounds import as_table, fitting
from arms.services.analyst.texts import MAX_ITEMS, Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

_EXACT = "Exact, as the method defines it."


def _validate_json(given: JSONObject, check: Check) -> Analysis:
    """Check a value against a JSON schema."""
    schema = _read(given, "schema")
    _refuse_large(schema, "schema", most=schema_check.MAX_SCHEMA)
    check()
    try:
        data = json_values.read_json(given, "data")
    except json_values.NotJSONError as error:
        found = (schema_check.Misfit(path="", message=str(error), rule="json"),)
        return _verdict(found, "The text is not JSON, so no schema was asked.")
    _refuse_large(data, "data", most=schema_check.MAX_DATA)
    result = schema_check.validate(data, schema, check=check)
    is_full = len(result.errors) == schema_check.MAX_ERRORS
    method = remarks(
        f"JSON schema {result.dialect}; patterns are those of RE2, “format” is not "
        "checked, and nothing is fetched.",
        f"Counting ended at {schema_check.MAX_ERRORS:,}." if is_full else "",
    )
    return _verdict(result.errors, method)


def _verdict(errors: tuple[schema_check.Misfit, ...], method: str) -> Analysis:
    shown: list[JSONValue] = list(
        fitting(
            (
                {"path": each.path, "message": each.message, "rule": each.rule}
                for each in errors
            ),
            most=MAX_ITEMS,
        )
    )
    output: JSONObject = {
        "is_valid": not errors,
        "errors": shown,
        "errors_cut": len(shown) < len(errors),
        "error_count": len(errors),
        "method": method,
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _refuse_large(value: JSONValue, name: str, *, most: int) -> None:
    """Keep away what would take the validator too long.

    Raises:
        ArmInputError: it is too large, or nested too deep.
    """
    try:
        size = len(json.dumps(value, ensure_ascii=False))
    except RecursionError as error:
        raise ArmInputError(f"“{name}” is nested too deep.") from error
    if size > most:
        raise ArmInputError(f"“{name}” exceeds {most:,} characters.")


def _read(given: JSONObject, name: str) -> JSONValue:
    try:
        return json_values.read_json(given, name)
    except json_values.NotJSONError as error:
        raise ArmInputError(f"“{name}” cannot be read. {error}") from error


def _describe_json(given: JSONObject, check: Check) -> Analysis:
    """Describe what stands at each path of a JSON value."""
    found = json_values.describe(_read(given, "data"), check=check)
    listed: list[JSONValue] = [
        {
            "path": path,
            "types": [*sorted(each.types)],
            "count": each.types.total(),
            "example": each.example,
        }
        for path, each in found.paths.items()
    ]
    shown: list[JSONValue] = list(fitting(listed, most=json_values.MAX_PATHS))
    output: JSONObject = {
        "paths": shown,
        "paths_cut": found.is_cut or len(shown) < len(listed),
        "depth": found.depth,
        "value_count": found.value_count,
        "method": "Every member counts at its path; [] stands for all members of a "
        "list, the empty path for the whole.",
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


def _flatten_json(given: JSONObject, check: Check) -> Analysis:
    """Lay nested records flat, as a table."""
    try:
        found = json_values.flatten(_read(given, "data"), check=check)
    except RecursionError as error:
        raise ArmInputError("“data” is nested too deep.") from error
    rows = len(found.records)
    output = as_table(found.columns, found.rows(), count=rows)
    output |= {
        "table_cut": output["table_cut"] or found.is_cut,
        "row_count": rows,
        "method": remarks(
            f"One row per object of {found.place}; nested keys are joined by points, "
            "lists stay JSON text.",
            (
                f"Only the first {json_values.MAX_COLUMNS} columns are kept."
                if found.is_cut
                else ""
            ),
        ),
    }
    return Analysis(output=output, confidence=1.0, reason=_EXACT)


JSON_WORK: Mapping[str, Work] = {
    "validate_json": _validate_json,
    "describe_json": _describe_json,
    "flatten_json": _flatten_json,
}
