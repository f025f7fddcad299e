"""What cannot be stored is told before a statement fails on it."""

from __future__ import annotations

import pytest

from octollm.storable import holds_nul, why_not_storable


@pytest.mark.parametrize(
    "value",
    [
        {"a": "b\0"},
        {"a\0": 1},
        ["\ud800"],
        float("nan"),
        [float("-inf")],
        pytest.param(10**5000, id="long"),
    ],
)
def test_what_the_database_refuses_is_found(value: object) -> None:
    assert why_not_storable(value)


@pytest.mark.parametrize(
    "value", [None, {"a": [1, 2.5, "ü 😀"]}, r"\u0000", r"\\u0000", 10**300]
)
def test_json_is_storable(value: object) -> None:
    assert not why_not_storable(value)


def test_depth_that_exhausts_the_stack_is_found() -> None:
    value: list[object] = []
    for _ in range(100_000):
        value = [value]

    assert why_not_storable(value)


@pytest.mark.parametrize(
    ("text", "expected"), [(r'"\u0000"', True), (r'"\\u0000"', False), ('"0"', False)]
)
def test_an_escaped_backslash_is_no_nul(text: str, expected: bool) -> None:
    assert holds_nul(text) is expected
