"""JSON: checked against schemas nobody has to trust, described, laid flat."""

from __future__ import annotations

import json
import socket
from typing import Any

import pytest

from arms.services.analyst.arm import AnalystArm
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from tests.arms.services.requests import make_request, make_services, output_of

ORDER = {
    "type": "object",
    "required": ["id", "lines"],
    "properties": {
        "id": {"type": "string", "pattern": "^[A-Z]{2}\\d+$"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}},
    },
    "additionalProperties": False,
    "$defs": {"line": {"type": "object", "properties": {"n": {"minimum": 1}}}},
}
# Each reference doubles the work: 2**40 checks.
LAUGHS = {
    "$defs": {
        f"a{level}": {"allOf": [{"$ref": f"#/$defs/a{level + 1}"}] * 2}
        for level in range(40)
    }
    | {"a40": {"type": "integer"}},
    "$ref": "#/$defs/a0",
}


def analyse(capability: str, **given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


def errors_of(data: Any, schema: Any) -> list[tuple[str, str]]:
    output = analyse("validate_json", data=data, schema=schema)
    assert output["is_valid"] is (output["error_count"] == 0)
    return [(each["path"], each["rule"]) for each in output["errors"]]


@pytest.mark.parametrize(
    ("data", "errors"),
    [
        ({"id": "AB12", "lines": [{"n": 1}]}, []),
        ('{"id": "AB12", "lines": []}', []),
        ({"id": "AB12"}, [("", "required")]),
        (
            {"id": "ab", "lines": [{"n": 2}, {"n": 0}, 5], "more": 1},
            [
                ("id", "pattern"),
                ("lines[1].n", "minimum"),
                ("lines[2]", "type"),
                ("", "additionalProperties"),
            ],
        ),
        ("[1", [("", "json")]),
        ('{"id": NaN}', [("", "json")]),
    ],
)
def test_what_does_not_fit_a_schema_is_named_with_its_place(
    data: Any, errors: Any
) -> None:
    assert errors_of(data, ORDER) == errors


@pytest.mark.parametrize(
    ("data", "schema", "is_valid"),
    [
        (None, {"type": "null"}, True),
        ([1, 1.0], {"uniqueItems": True}, False),
        ([1, True, "1", [1], {"a": 1}], {"uniqueItems": True}, True),
        ({"ab": 1}, {"patternProperties": {"^a": {"type": "string"}}}, False),
        (
            {"b": 1},
            {"patternProperties": {"^a": {}}, "additionalProperties": False},
            False,
        ),
        ({"b": 1}, {"additionalProperties": {"type": "string"}}, False),
        ({"a": 1}, {"properties": {"a": {}}, "unevaluatedProperties": False}, True),
        (5, True, True),
        (5, False, False),
        (5, "false", False),
        ('"a"', {"type": "string"}, True),
        (
            3,
            {"$schema": "http://json-schema.org/draft-07/schema#", "maximum": 2},
            False,
        ),
        ({"id": 1}, {"$id": "https://example.com/s", "const": {"id": 1}}, True),
        ([[[1]]], {"items": {"$ref": "#"}, "type": "array"}, False),
    ],
)
def test_keywords_mean_what_the_standard_says(
    data: Any, schema: Any, is_valid: bool
) -> None:
    output = analyse("validate_json", data=data, schema=schema)

    assert output["is_valid"] is is_valid


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        ([], "must be an object"),
        ("{", "cannot be read"),
        ({"type": "text"}, "is no schema at type"),
        ({"$schema": "https://example.com/mine"}, "version"),
        ({"$schema": 5}, "version"),
        ({"items": {"pattern": "(?=a)"}}, "RE2"),
        ({"items": {"patternProperties": {"(": {}}}}, "RE2"),
        ({"$ref": "#/$defs/absent"}, "lacks"),
        ({"$ref": "#/title", "title": "x"}, "no schema"),
        ({"$ref": "#/x", "x": {"type": 5}}, "no schema"),
        ({"$ref": "#/x", "x": {"multipleOf": 0}}, "no schema"),
        ({"$ref": "#"}, "without end"),
        ({"allOf": [{"$id": "https://example.com/b"}]}, "root"),
        ({"not": {"$schema": "http://json-schema.org/draft-07/schema#"}}, "root"),
        (
            {
                "$schema": "http://json-schema.org/draft-04/schema#",
                "not": {"id": "http://example.com/"},
            },
            "root",
        ),
        ({"patternProperties": {}, "unevaluatedProperties": False}, "together"),
        ({"title": "x" * 300_000}, "exceeds"),
    ],
)
def test_schemas_that_cannot_be_used_are_refused_with_the_reason(
    schema: Any, words: str
) -> None:
    data = 1 if "multipleOf" in str(schema) else ["a", 1, {"k": 1}]

    with pytest.raises(ArmInputError, match=words):
        analyse("validate_json", data=data, schema=schema)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.1:{port}/schema.json",
        "schema.json",
        "https://json-schema.org/draft/2020-12/schema",
        "urn:example:x",
    ],
)
@pytest.mark.parametrize("keyword", ["$ref", "$dynamicRef"])
def test_nothing_is_fetched(keyword: str, target: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        schema = {"items": {keyword: target.format(port=server.getsockname()[1])}}

        with pytest.raises(ArmInputError, match="own parts"):
            analyse("validate_json", data=[1], schema=schema)

        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize(
    "schema",
    [
        {"pattern": "^(a+)+$"},
        {"$defs": {"x": {"pattern": "^(a|a)*$"}}, "$ref": "#/$defs/x"},
        {"not": {"not": {"anyOf": [{"pattern": "(a*)*b"}]}}},
    ],
)
@pytest.mark.timeout(20)
def test_patterns_that_backtrack_elsewhere_do_not_here(schema: Any) -> None:
    assert errors_of(json.dumps("a" * 50_000 + "!"), schema)


@pytest.mark.timeout(20)
def test_references_that_multiply_end_with_the_deadline() -> None:
    request = make_request("validate_json", {"data": 1, "schema": LAUGHS})

    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(request, make_services(timeout_s=0.3))


@pytest.mark.timeout(20)
def test_many_mixed_members_are_told_apart_in_linear_time() -> None:
    data = [[number] if number % 2 else number for number in range(100_000)]

    assert errors_of(data, {"uniqueItems": True}) == []


def test_very_many_errors_are_cut_and_counted_so_far() -> None:
    output = analyse(
        "validate_json", data=["x"] * 20_000, schema={"items": {"type": "null"}}
    )

    assert (output["error_count"], output["errors_cut"]) == (10_000, True)
    assert len(output["errors"]) == 1_000
    assert "10,000" in output["method"]


def test_messages_do_not_repeat_long_values() -> None:
    output = analyse("validate_json", data=["x" * 100_000], schema={"type": "object"})

    assert len(output["errors"][0]["message"]) <= 300


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize(
    "capability", ["validate_json", "describe_json", "flatten_json"]
)
@pytest.mark.parametrize("text", ["[" * 100_000, "1" * 10_000])
def test_absurd_texts_are_refused_or_found_invalid(capability: str, text: str) -> None:
    if capability == "validate_json":
        assert errors_of(text, {}) == [("", "json")]
    else:
        with pytest.raises(ArmInputError, match="absurd"):
            analyse(capability, data=text)


def test_deep_values_are_described_and_flattened() -> None:
    data = nested(100)

    described = analyse("describe_json", data=data)
    flat = analyse("flatten_json", data=nested(30))

    assert (described["depth"], described["value_count"]) == (200, 201)
    assert flat["row_count"] == 1


def test_values_nested_too_deep_for_a_schema_are_refused() -> None:
    schema = {"properties": {"a": {"$ref": "#"}}}

    with pytest.raises(ArmInputError, match="deep"):
        analyse("validate_json", data='{"a":' * 600 + "1" + "}" * 600, schema=schema)


def test_a_value_is_described_path_by_path() -> None:
    data = {"orders": [{"id": 1, "tags": []}, {"id": "x", "price": 2.5}], "ok": True}

    output = analyse("describe_json", data=data)

    found = {each["path"]: each for each in output["paths"]}
    assert list(found) == [
        "",
        "orders",
        "orders[]",
        "orders[].id",
        "orders[].tags",
        "orders[].price",
        "ok",
    ]
    assert found["orders[].id"] == {
        "path": "orders[].id",
        "types": ["integer", "string"],
        "count": 2,
        "example": 1,
    }
    assert (output["depth"], output["value_count"]) == (4, 9)


def test_very_many_paths_are_cut_and_told() -> None:
    output = analyse("describe_json", data={f"k{n}": n for n in range(5_000)})

    assert (len(output["paths"]), output["paths_cut"]) == (1_000, True)
    assert output["value_count"] == 5_001


@pytest.mark.parametrize(
    ("data", "table"),
    [
        (
            [{"a": {"b": 1, "c": {"d": 2}}}, {"e": [1, 2]}],
            {
                "columns": ["a.b", "a.c.d", "e"],
                "rows": [[1, 2, None], [None, None, "[1, 2]"]],
            },
        ),
        (
            {"page": 1, "items": [{"x": 1}, {"x": 2}], "few": [{"y": 1}]},
            {"columns": ["x"], "rows": [[1], [2]]},
        ),
        (
            {"a": {"b": "x"}, "c": [1]},
            {"columns": ["a.b", "c"], "rows": [["x", "[1]"]]},
        ),
        ('{"": {"": 1}}', {"columns": ["(empty)."], "rows": [[1]]}),
    ],
)
def test_records_are_laid_flat(data: Any, table: Any) -> None:
    output = analyse("flatten_json", data=data)

    assert output["table"] == table
    again = analyse("describe_table", table=output["table"])
    assert again["row_count"] == output["row_count"]


def test_very_many_columns_are_cut_and_told() -> None:
    output = analyse("flatten_json", data=[{f"k{n}": n for n in range(600)}])

    assert (len(output["table"]["columns"]), output["table_cut"]) == (500, True)


@pytest.mark.parametrize("data", [5, "6", [1], "true", [{"a": 1}, 2]])
def test_what_holds_no_records_is_refused(data: Any) -> None:
    with pytest.raises(ArmInputError, match="list of objects"):
        analyse("flatten_json", data=data)


@pytest.mark.parametrize(
    ("capability", "given"),
    [
        ("validate_json", {"data": 1}),
        ("validate_json", {"schema": {}}),
        ("validate_json", {"data": "", "schema": {}}),
        ("describe_json", {}),
        ("flatten_json", {"data": []}),
        ("flatten_json", {"data": {}}),
    ],
)
def test_nothing_to_work_on_is_missing_input(capability: str, given: Any) -> None:
    with pytest.raises(MissingInputError, match="supply"):
        analyse(capability, **given)


@pytest.mark.parametrize(
    "capability", ["validate_json", "describe_json", "flatten_json"]
)
def test_work_on_json_stops_when_its_time_is_over(capability: str) -> None:
    given = {"data": {"a": 1}, "schema": {}}

    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(
            make_request(capability, given), make_services(timeout_s=0)
        )


def test_half_a_surrogate_is_refused() -> None:
    with pytest.raises(ArmInputError, match="surrogate"):
        analyse("describe_json", data='["\\ud800"]')
