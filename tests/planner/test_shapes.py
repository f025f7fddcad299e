"""Whether JSON fits the simple part of a schema."""

from __future__ import annotations

from typing import Any

import pytest

from planner.shapes import can_flow, member, misfit

CLOSED = {"type": "object", "properties": {"n": {}}, "additionalProperties": False}


@pytest.mark.parametrize(
    ("value", "schema"),
    [
        (5, {}),
        (5, {"type": "integer"}),
        (5.0, {"type": "integer"}),
        (5, {"type": "number"}),
        (None, {"type": ["string", "null"]}),
        (True, {"type": "boolean"}),
        ("b", {"enum": ["a", "b"]}),
        ({"n": 1}, CLOSED),
        ({"any": 1}, {"type": "object"}),
        ({"any": 1}, {"type": "object", "additionalProperties": {"type": "integer"}}),
        ([1, 2], {"type": "array"}),
        ("[CARD_1]", {"type": "integer"}),
        ({"$from": "steps.1.n"}, {"type": "integer"}),
        ([{"$from": "goal"}, "x"], {"type": "array", "items": {"type": "string"}}),
        (1, {"type": "mystery"}),
    ],
)
def test_a_fitting_value_passes(value: Any, schema: Any) -> None:
    assert misfit(value, schema, "it") is None


@pytest.mark.parametrize(
    ("value", "schema", "problem"),
    [
        ("5", {"type": "integer"}, "it must be integer, not string"),
        (True, {"type": "integer"}, "it must be integer, not boolean"),
        (5.5, {"type": "integer"}, "it must be integer, not number"),
        (None, {"type": ["string", "array"]}, "it must be array or string, not null"),
        ("c", {"enum": ["a", "b"]}, "it must be one of a, b"),
        ({"m": 1}, CLOSED, "it has an unknown key “m”"),
        ({}, {"type": "object", "required": ["n"]}, "it lacks “n”"),
        (
            {"n": {"m": "x"}},
            {"properties": {"n": {"properties": {"m": {"type": "integer"}}}}},
            "it.n.m must be integer, not string",
        ),
        ([1, "x"], {"items": {"type": "integer"}}, "it.1 must be integer, not string"),
        (0, {"minimum": 1}, "it must be at least 1"),
        (9, {"maximum": 5}, "it must be at most 5"),
    ],
)
def test_a_misfit_is_described_without_its_value(
    value: Any, schema: Any, problem: str
) -> None:
    assert misfit(value, schema, "it") == problem


@pytest.mark.parametrize(
    ("schema", "key", "expected"),
    [
        ({"properties": {"a": {"type": "string"}}}, "a", {"type": "string"}),
        ({"properties": {"a": {}}}, "b", None),
        ({"properties": {"a": {}}, "additionalProperties": True}, "b", {}),
        ({"type": "array", "items": {"type": "string"}}, "0", {"type": "string"}),
        ({"type": "array"}, "first", None),
        ({"type": "string"}, "length", None),
        ({}, "anything", {}),
    ],
)
def test_members_that_a_schema_rules_out_are_told(
    schema: Any, key: str, expected: Any
) -> None:
    assert member(schema, key) == expected


@pytest.mark.parametrize(
    ("given", "wanted", "expected"),
    [
        ({"type": "integer"}, {"type": "number"}, True),
        ({"type": "number"}, {"type": "integer"}, False),
        ({}, {"type": "integer"}, True),
        ({"type": "string"}, {}, True),
        ({"type": "string"}, {"type": "array"}, False),
    ],
)
def test_outputs_flow_into_inputs_of_their_type(
    given: Any, wanted: Any, *, expected: bool
) -> None:
    assert can_flow(given, wanted) is expected
