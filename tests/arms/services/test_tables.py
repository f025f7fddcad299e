"""Tables: reading cells, describing columns, grouping and measuring."""

from __future__ import annotations

from typing import Any

import pytest

from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.questions import read_question
from arms.services.analyst.tables import read_table
from octollm.errors import ArmInputError, MissingInputError
from tests.arms.services.requests import output_of, run

SALES = """region,product,price,sold_on
North,kettle,10,2024-01-02
North,phone,"1,200",
South,kettle,12,2024-01-05
South,kettle,,2024-01-06
West,phone,900.5,n/a
"""


def analyse(capability: str, **given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


def column(output: Any, name: str) -> Any:
    return next(each for each in output["columns"] if each["name"] == name)


@pytest.mark.parametrize(
    "table",
    [
        "a,b\n1,x\n2,y",
        "a;b\n1;x\n2;y",
        "\ufeffa\tb\r\n1\tx\r\n2\ty\r\n",
        [{"a": 1, "b": "x"}, {"a": "2", "b": "y"}],
        '[{"a": 1, "b": "x"}, {"a": 2, "b": "y"}]',
        {"columns": ["a", "b"], "rows": [[1, "x"], [2, "y"]]},
    ],
)
def test_a_table_comes_in_several_forms(table: Any) -> None:
    read = read_table(table)

    assert [each.name for each in read.columns] == ["a", "b"]
    assert [each.cells for each in read.columns] == [(1.0, 2.0), ("x", "y")]


@pytest.mark.parametrize(
    ("cell", "meant"),
    [
        ("1,234.5", 1234.5),
        ("$12.50", 12.5),
        ("80%", 80.0),
        ("-3", -3.0),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("1,23", "1,23"),
        ("12 pieces", "12 pieces"),
        ("e5", "e5"),
        ("1e999", "1e999"),
        ("", None),
        ("N/A", None),
        (None, None),
        (True, True),
        (10**400, None),
        ([1], "[1]"),
    ],
)
def test_a_cell_is_read_as_it_is_meant(cell: Any, meant: Any) -> None:
    table = read_table([{"a": cell, "b": 1}])

    assert table.columns[0].cells == (meant,)


def test_columns_of_numbers_are_described_by_their_statistics() -> None:
    price = column(analyse("describe_table", table=SALES), "price")

    assert price == {
        "name": "price",
        "type": "number",
        "count": 4,
        "missing": 1,
        "distinct": 4,
        "sum": 2122.5,
        "mean": 530.625,
        "median": 456.25,
        "min": 10,
        "max": 1200,
        "stdev": pytest.approx(612.343, abs=1e-3),
    }


def test_columns_of_text_are_described_by_their_frequent_values() -> None:
    region = column(analyse("describe_table", table=SALES), "region")

    assert (region["type"], region["distinct"]) == ("text", 3)
    assert region["top"][0] == {"value": "North", "count": 2}


def test_missing_cells_lower_the_confidence_and_are_counted() -> None:
    reply = run(AnalystArm(), "describe_table", {"table": SALES})

    assert reply.confidence == pytest.approx(17 / 20)
    assert reply.output["row_count"] == 5


def test_one_number_has_no_deviation() -> None:
    assert column(analyse("describe_table", table="a\n5"), "a")["stdev"] is None


def test_ragged_rows_are_filled_cut_and_told() -> None:
    output = analyse("describe_table", table="a,b\n1\n1,2,3\n")

    assert column(output, "b")["missing"] == 1
    assert "more cells than columns" in output["method"]


def test_columns_of_the_same_name_are_told_apart() -> None:
    table = read_table("a,a,\n1,2,3")

    assert [each.name for each in table.columns] == ["a", "a 2", "column 3"]


@pytest.mark.parametrize(
    "table", [None, "", "  ", [], {}, "a,b", {"columns": ["a"], "rows": []}, [{}]]
)
def test_a_table_without_rows_is_missing_input(table: Any) -> None:
    with pytest.raises(MissingInputError):
        analyse("describe_table", table=table)


@pytest.mark.parametrize(
    "table",
    [5, [1, 2], {"a": 1}, {"columns": "a", "rows": []}, {"columns": [], "rows": [1]}],
)
def test_what_is_no_table_is_refused(table: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("describe_table", table=table)


def test_numbers_too_large_to_add_are_refused_with_a_reason() -> None:
    with pytest.raises(ArmInputError, match="too large"):
        analyse("describe_table", table="a\n1.7e308\n1.7e308")


def test_rows_are_grouped_and_measured() -> None:
    output = analyse(
        "aggregate",
        table=SALES,
        group_by="Region",
        measures=[
            {"column": "price", "function": "sum"},
            {"column": "price", "function": "count"},
        ],
    )

    assert output["groups"][:2] == [
        {
            "group": {"region": "North"},
            "count": 2,
            "measures": {"sum of price": 1210, "count of price": 2},
        },
        {
            "group": {"region": "South"},
            "count": 2,
            "measures": {"sum of price": 12, "count of price": 1},
        },
    ]


def test_a_group_without_numbers_has_no_mean() -> None:
    output = analyse("aggregate", table="g,n\na,\nb,2", group_by="g")

    assert output["groups"][0]["measures"] == {"sum of n": None, "mean of n": None}


def test_without_group_and_measures_everything_is_one_group() -> None:
    (group,) = analyse("aggregate", table=SALES)["groups"]

    assert (group["group"], group["count"]) == ({}, 5)
    assert group["measures"]["mean of price"] == 530.625


@pytest.mark.parametrize(
    ("question", "group_by", "measures"),
    [
        ("Average price by region", ("region",), ("mean of price",)),
        (
            "average price per region and product",
            ("region", "product"),
            ("mean of price",),
        ),
        ("Which region has the highest price?", ("region",), ("max of price",)),
        ("total of the prices for each product", ("product",), ("sum of price",)),
        ("How many rows per region?", ("region",), ()),
        ("Describe the table", (), ()),
        ("average region", (), ()),
    ],
)
def test_a_question_names_groups_and_measures(
    question: str, group_by: tuple[str, ...], measures: tuple[str, ...]
) -> None:
    named = read_question(read_table(SALES), question)

    assert named.group_by == group_by
    assert tuple(each.name for each in named.measures) == measures


def test_what_is_given_beats_what_the_question_names() -> None:
    output = analyse(
        "aggregate", table=SALES, question="price by region", group_by=["product"]
    )

    assert {tuple(group["group"]) for group in output["groups"]} == {("product",)}


@pytest.mark.parametrize(
    "given",
    [
        {"group_by": "colour"},
        {"group_by": {"a": 1}},
        {"measures": [{"column": "colour", "function": "sum"}]},
        {"measures": [{"column": "price", "function": "exec"}]},
        {"measures": ["price"]},
        {"measures": "price"},
    ],
)
def test_columns_and_functions_that_are_not_there_are_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("aggregate", table=SALES, **given)


def test_an_unknown_column_is_answered_with_those_there_are() -> None:
    with pytest.raises(ArmInputError, match="region, product, price, sold_on"):
        analyse("aggregate", table=SALES, group_by="colour")


def test_many_groups_are_cut_and_told() -> None:
    table = "g\n" + "\n".join(f"x{number}" for number in range(1_500))

    output = analyse("aggregate", table=table, group_by="g")

    assert (len(output["groups"]), output["groups_cut"]) == (1_000, True)
    assert "1500 groups" in output["method"]
