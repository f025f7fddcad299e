"""Columns of tables: crossed, spread, outliers, correlated, over time, checked."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest

from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.dates import name_of, number_of, read_dates
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from tests.arms.services.requests import make_request, make_services, output_of, run

ORDERS = """day,region,product,price
2024-01-05,north,kettle,10
2024-01-20,north,phone,20
2024-02-03,south,kettle,30
2024-03-09,south,phone,60
2024-03-10,south,phone,
,north,kettle,5
"""
ALL = ("pivot", "outliers", "distribution", "correlate", "trend", "check_table")


def analyse(capability: str, **given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


def numbers(*values: Any) -> list[dict[str, Any]]:
    return [{"a": value} for value in values]


def test_two_columns_are_crossed_and_counted() -> None:
    output = analyse("pivot", table=ORDERS, rows="region", columns="product")

    assert output["table"] == {
        "columns": ["region", "kettle", "phone"],
        "rows": [["north", 2, 1], ["south", 1, 2]],
    }
    assert output["measure"] == "count of rows"


def test_the_cells_of_a_cross_table_hold_the_measure_asked_for() -> None:
    output = analyse(
        "pivot", table=ORDERS, question="average price by product and region"
    )

    assert output["table"]["rows"] == [["kettle", 7.5, 30], ["phone", 20, 60]]
    assert output["measure"] == "mean of price"


def test_pairs_without_rows_and_missing_values_are_told_apart() -> None:
    output = analyse("pivot", table="a,b\nx,1\ny,\n", rows="a", columns="b")

    assert output["table"] == {
        "columns": ["a", "1", "(missing)"],
        "rows": [["x", 1, None], ["y", None, 1]],
    }


def test_very_many_values_across_are_cut_and_told() -> None:
    table = "a,b\n" + "".join(f"x,v{number}\n" for number in range(80))

    output = analyse("pivot", table=table, rows="a", columns="b")

    assert (len(output["table"]["columns"]), output["table_cut"]) == (51, True)


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"rows": "region"},
        {"rows": "region", "columns": "colour"},
        {"rows": "region", "columns": "product", "value": "price", "function": "exec"},
    ],
)
def test_a_cross_of_less_than_two_columns_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("pivot", table=ORDERS, **given)


@pytest.mark.parametrize("rule", ["iqr", "mad"])
def test_a_number_far_from_the_rest_is_an_outlier(rule: str) -> None:
    table = numbers(10, 11, 12, "x", 11, 10, 13, 500, None)

    output = analyse("outliers", table=table, columns="a", rule=rule)

    assert output["outliers"] == [{"row": 8, "column": "a", "value": 500}]
    assert output["columns"][0]["high"] < 500


@pytest.mark.parametrize(
    ("values", "rule", "count"),
    [
        ((1, 2, 3, 500), "iqr", 0),
        ((1, 1, 1, 1, 1, 9), "iqr", 1),
        ((1, 1, 1, 1, 1, 9), "mad", 0),
        ((1, 2, 3, 4, 5, 6), "iqr", 0),
        ((-1e308, 1e308, 0, 1e308, -1e308, 5), "iqr", 0),
    ],
)
def test_what_a_rule_cannot_judge_is_no_outlier(
    values: Any, rule: str, count: int
) -> None:
    output = analyse("outliers", table=numbers(*values), rule=rule)

    assert output["count"] == count


def test_only_the_columns_that_the_question_names_are_judged() -> None:
    table = [{"price": 1, "weight": 2}] * 6

    output = analyse("outliers", table=table, question="outliers in the weights")

    assert [each["name"] for each in output["columns"]] == ["weight"]


def test_percentiles_and_bins_hold_every_number() -> None:
    table = numbers(*range(1, 101))

    (column,) = analyse("distribution", table=table, bins=4)["columns"]

    assert column["percentiles"]["p50"] == 50.5
    assert column["percentiles"]["p5"] == 5.95
    assert [each["count"] for each in column["bins"]] == [25, 25, 25, 25]
    assert (column["bins"][0]["low"], column["bins"][-1]["high"]) == (1, 100)


@pytest.mark.parametrize("values", [(5,), (5, 5, 5), (-1e308, 1e308)])
def test_numbers_that_cannot_be_divided_are_one_bin(values: Any) -> None:
    (column,) = analyse("distribution", table=numbers(*values))["columns"]

    assert [each["count"] for each in column["bins"]] == [len(values)]


@pytest.mark.parametrize(
    ("rule", "coefficient"), [("pearson", 0.9819), ("spearman", 1.0)]
)
def test_columns_that_grow_together_are_correlated(
    rule: str, coefficient: float
) -> None:
    table = [{"x": x, "y": x**2, "z": -x, "text": "t"} for x in (1, 2, 3, 4)]
    table[0]["x"] = 1

    output = analyse("correlate", table=table, rule=rule)

    pairs = {(each["a"], each["b"]): each["coefficient"] for each in output["pairs"]}
    assert pairs["x", "z"] == -1
    assert pairs["x", "y"] == pytest.approx(coefficient, abs=0.003)
    assert output["strongest"]["coefficient"] in (1, -1)


def test_constant_columns_and_few_rows_have_no_coefficient() -> None:
    constant = analyse("correlate", table="a,b\n1,5\n2,5\n3,5")
    few = analyse("correlate", table="a,b\n1,2\n2,3\n3,\n")

    assert constant["strongest"] is None
    assert few["pairs"] == [{"a": "a", "b": "b", "coefficient": None, "count": 2}]


def test_equal_numbers_share_their_rank() -> None:
    output = analyse("correlate", table="a,b\n1,1\n1,2\n2,3\n3,4", rule="spearman")

    assert output["strongest"]["coefficient"] == 0.9487


@pytest.mark.parametrize(
    "given", [{"columns": "region"}, {"columns": ["price"]}, {"rule": "kendall"}]
)
def test_a_correlation_of_less_than_two_columns_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("correlate", table=ORDERS, **given)


def test_a_column_is_followed_over_time() -> None:
    reply = run(
        AnalystArm(),
        "trend",
        {"table": ORDERS, "question": "How do prices develop per month?"},
    )

    output: Any = reply.output
    assert output["periods"] == [
        {"period": "2024-01", "count": 2, "value": 30},
        {"period": "2024-02", "count": 1, "value": 30},
        {"period": "2024-03", "count": 2, "value": 60},
    ]
    assert (output["slope"], output["direction"]) == (15, "rising")
    assert (output["change"], output["change_share"]) == (30, 1)
    assert reply.confidence == pytest.approx(5 / 6)
    assert "1 of 6 rows have no date" in output["method"]


@pytest.mark.parametrize(
    ("given", "value", "values"),
    [
        ({"question": "how many orders per month"}, "count of rows", [2, 1, 2]),
        ({"function": "count", "period": "month"}, "count of rows", [2, 1, 2]),
        ({"question": "average price by year"}, "mean of price", [30]),
        ({"period": ["quarter"], "function": "max"}, "max of price", [60]),
    ],
)
def test_a_trend_measures_what_is_asked_for(
    given: Any, value: str, values: list[float]
) -> None:
    output = analyse("trend", table=ORDERS, **given)

    assert output["value"] == value
    assert [each["value"] for each in output["periods"]] == values


@pytest.mark.parametrize(
    ("values", "direction"),
    [
        ([5, 5, 5], "flat"),
        ([100, 101, 100], "flat"),
        ([9, 5, 1], "falling"),
        ([5], "unknown"),
    ],
)
def test_the_direction_is_that_of_the_line(values: Any, direction: str) -> None:
    table = [{"year": 2000 + year, "n": n} for year, n in enumerate(values)]

    output = analyse("trend", table=table, date="year", period="year")

    assert output["direction"] == direction


@pytest.mark.parametrize(
    "given",
    [{"table": "a,b\nx,1"}, {"date": "region"}, {"value": "region"}, {"period": "age"}],
)
def test_a_trend_without_dates_or_numbers_is_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("trend", **{"table": ORDERS, **given})


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (("2024-05-06T10:00:00Z", "2024-05-06 10:00"), ["2024-05-06"] * 2),
        (
            ("May 2024", "2024-05", "2024Q2", "Q2 2024"),
            ["2024-05-01", "2024-05-01", "2024-04-01", "2024-04-01"],
        ),
        ((2024.0, 12.0, 2024.5), ["2024-01-01", None, None]),
        (("4/5/2024", "25/12/2024"), ["2024-05-04", "2024-12-25"]),
        (("4/5/2024", "12/25/2024"), ["2024-04-05", "2024-12-25"]),
        (("4/5/2024", "12/25/2024", "25/12/2024"), [None, "2024-12-25", "2024-12-25"]),
        (("4/5/2024", "5/5/2024"), [None, "2024-05-05"]),
        (("2024-13", "2024-02-30", "x", "", None, True, "9" * 99), [None] * 7),
    ],
)
def test_a_column_of_dates_is_read_by_its_own_order(cells: Any, days: Any) -> None:
    found = read_dates(cells)

    assert [day and day.isoformat() for day in found] == days


@pytest.mark.parametrize(
    ("period", "name"),
    [
        ("day", "2024-12-30"),
        ("week", "2025-W01"),
        ("month", "2024-12"),
        ("quarter", "2024-Q4"),
        ("year", "2024"),
    ],
)
def test_neighbouring_periods_differ_by_one(period: str, name: str) -> None:
    day, next_ = date(2024, 12, 30), {
        "day": date(2024, 12, 31),
        "week": date(2025, 1, 6),
    }
    later = next_.get(period, date(2025, 1, 1))

    assert name_of(day, period) == name
    assert number_of(later, period) - number_of(day, period) == 1


def test_the_problems_of_a_table_are_named_with_their_rows() -> None:
    table = (
        "id,city,n\n1,Rome,1\n2,rome,2\n2,Rome,x\n4,,4\n5,Oslo,5\n1,Rome,1\n7,Bari,7"
    )

    output = analyse("check_table", table=table)

    found = {
        (each["problem"], each["column"]): each["rows"] for each in output["problems"]
    }
    assert found == {
        ("repeated identifier", "id"): [3, 6],
        ("missing value", "city"): [4],
        ("other spelling", "city"): [2],
        ("not a number", "n"): [3],
        ("repeated row", ""): [6],
    }
    assert (output["is_clean"], output["missing_count"]) == (False, 1)
    assert output["duplicate_count"] == 1


def test_a_table_without_problems_is_clean() -> None:
    output = analyse("check_table", table="a,b\n1,x\n2,y")

    assert (output["is_clean"], output["problems"]) == (True, [])


def test_a_problem_of_many_rows_names_the_first() -> None:
    table = {"columns": ["a", "b"], "rows": [[1, None]] * 50}

    problem = analyse("check_table", table=table)["problems"][0]

    assert (problem["count"], len(problem["rows"])) == (50, 20)


@pytest.mark.parametrize("capability", ALL)
@pytest.mark.parametrize("table", [None, "", [], "a,b"])
def test_no_rows_are_missing_input(capability: str, table: Any) -> None:
    with pytest.raises(MissingInputError):
        analyse(capability, table=table)


@pytest.mark.parametrize("capability", ALL)
def test_work_on_columns_stops_when_its_time_is_over(capability: str) -> None:
    given = {"table": ORDERS.replace("day,", "price2,"), "rows": "region"}
    given |= {"columns": "product" if capability == "pivot" else "price"}
    if capability == "correlate":
        given = {"table": "a,b\n1,2"}

    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(
            make_request(capability, given), make_services(timeout_s=0)
        )


@pytest.mark.parametrize("capability", ["outliers", "distribution", "correlate"])
def test_tables_without_numbers_are_refused(capability: str) -> None:
    with pytest.raises(ArmInputError, match="number"):
        analyse(capability, table="a,b\nx,y")


@pytest.mark.parametrize("capability", ALL)
@pytest.mark.timeout(60)
def test_wide_and_long_tables_are_worked_on_within_bounds(capability: str) -> None:
    table = {
        "columns": ["day", *(f"c{number}" for number in range(60))],
        "rows": [["2024-01-01", *range(row, row + 60)] for row in range(1_000)],
    }

    output = analyse(
        capability,
        table=table,
        **({"rows": "c1"} if capability == "pivot" else {}),
        question="c1 and c2" if capability == "pivot" else "",
    )

    assert output["row_count"] == 1_000
