"""Rows of tables: filtered, sorted, deduplicated, joined, written otherwise."""

from __future__ import annotations

import json
from typing import Any

import pytest

from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.tables import as_given, read_table
from octollm.errors import ArmInputError, DeadlineExceededError, MissingInputError
from tests.arms.services.requests import make_request, make_services, output_of

SALES = """region,product,price,sold_on
North,kettle,10,2024-01-02
North,phone,"1,200",2024-03-01
south,kettle,12,2024-01-05
South,kettle,,2024-02-06
West,toaster,90.5,
"""
NEEDS: dict[str, Any] = {
    "filter_rows": {"where": [{"column": "a", "value": "1"}]},
    "sort_rows": {"by": "a"},
    "deduplicate_rows": {},
    "convert": {},
}


def analyse(capability: str, **given: Any) -> Any:
    return output_of(AnalystArm(), capability, given)


def products(output: Any) -> list[Any]:
    place = output["table"]["columns"].index("product")
    return [row[place] for row in output["table"]["rows"]]


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        ("10", 10),
        ("-0.5", -0.5),
        ("007", "007"),
        ("1,200", "1,200"),
        ("$5", "$5"),
        ("1e5", "1e5"),
        ("12345678901234567", "12345678901234567"),
        (" x ", "x"),
        ("  ", None),
        ("N/A", "N/A"),
        (float("inf"), None),
        ([1], [1]),
        (True, True),
    ],
)
def test_a_cell_comes_out_as_it_came_in(cell: Any, shown: Any) -> None:
    assert as_given(cell) == shown


@pytest.mark.parametrize("code", ["007", "01234", "-01", "00"])
def test_codes_with_leading_zeros_are_no_numbers(code: str) -> None:
    assert read_table([{"a": code}]).columns[0].cells == (code,)


@pytest.mark.parametrize(
    ("condition", "kept"),
    [
        ({"column": "price", "operator": ">", "value": 10}, [1, 2, 4]),
        ({"column": "price", "operator": ">=", "value": "10"}, [0, 1, 2, 4]),
        ({"column": "price", "operator": "<", "value": "$12"}, [0]),
        ({"column": "Region", "operator": "=", "value": "south"}, [2, 3]),
        ({"column": "region", "value": "SOUTH"}, [2, 3]),
        ({"column": "region", "operator": "!=", "value": "south"}, [0, 1, 4]),
        ({"column": "product", "operator": "contains", "value": "OAST"}, [4]),
        ({"column": "product", "operator": "lacks", "value": "e"}, []),
        ({"column": "price", "operator": "missing"}, [3]),
        ({"column": "price", "operator": "present"}, [0, 1, 2, 4]),
        ({"column": "sold_on", "operator": ">", "value": "2024-01-05"}, [1, 3]),
        ({"column": "sold_on", "operator": "<=", "value": "5 January 2024"}, [0, 2]),
        ({"column": "product", "operator": ">", "value": "a"}, []),
    ],
)
def test_rows_are_kept_by_a_condition(condition: Any, kept: list[int]) -> None:
    output = analyse("filter_rows", table=SALES, where=[condition])

    names = ["kettle", "phone", "kettle", "kettle", "toaster"]
    assert products(output) == [names[row] for row in kept]
    assert output["kept_count"] == len(kept)
    assert output["left_out_count"] == 5 - len(kept)


@pytest.mark.parametrize(("match", "count"), [("all", 1), ("any", 3), (["any"], 3)])
def test_several_conditions_hold_together_or_one_is_enough(
    match: Any, count: int
) -> None:
    where = [
        {"column": "region", "value": "north"},
        {"column": "product", "value": "phone"},
        {"column": "price", "operator": ">", "value": 100},
    ]
    if match != "all":
        where.append({"column": "product", "value": "toaster"})

    output = analyse("filter_rows", table=SALES, where=where, match=match)

    assert output["kept_count"] == count


@pytest.mark.parametrize(
    ("question", "conditions"),
    [
        ("rows where price is over 100", "price > 100"),
        ("price>100", "price > 100"),
        ("where the price is at least $1,200.", "price >= 1200"),
        ("price of 100 or more", "price >= 100"),
        ("price is 100 or less and region is North", "price <= 100 and region = North"),
        ("keep rows with region not equal to 'South'", "region != South"),
        ("price between 10 and 20", "price >= 10 and price <= 20"),
        ("rows whose product contains “oast”", "product contains oast"),
        ("where price is missing", "price missing"),
        ("where sold on is not empty, please", "sold_on present"),
        ("region is north of the table", "region = north"),
        ("prices under 20 dollars", "price < 20"),
        ("sold_on after 2024-01-31", "sold_on > 2024-01-31"),
        ("product does not contain e?", "product lacks e"),
        ("the name of the product of region North where price > 5", "price > 5"),
    ],
)
def test_a_question_words_conditions(question: str, conditions: str) -> None:
    output = analyse("filter_rows", table=SALES, question=question)

    assert output["method"].startswith(f"Rows with {conditions}.")


@pytest.mark.parametrize(
    "question", ["", "Filter the table", "price and region", "region is north or south"]
)
def test_a_question_without_clear_conditions_is_refused(question: str) -> None:
    with pytest.raises(ArmInputError, match="where"):
        analyse("filter_rows", table=SALES, question=question)


@pytest.mark.parametrize(
    "where",
    [
        "price > 1",
        [1],
        [{"column": "price", "operator": "~", "value": 1}],
        [{"column": "colour", "value": 1}],
        [{"column": "price", "operator": ">"}],
        [{"column": "price", "operator": ["="], "value": 1}],
        [{}] * 101,
    ],
)
def test_conditions_of_another_shape_are_refused(where: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("filter_rows", table=SALES, where=where)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"by": "price"}, ["kettle", "kettle", "toaster", "phone", "kettle"]),
        (
            {"by": ["price"], "order": "descending", "limit": 2},
            ["phone", "toaster"],
        ),
        ({"question": "top 2 products by price"}, ["phone", "toaster"]),
        ({"question": "the three cheapest"}, ["kettle", "kettle", "toaster"]),
        ({"question": "the 2 lowest prices"}, ["kettle", "kettle"]),
        ({"question": "sort by sold_on, newest first", "limit": 1}, ["phone"]),
        (
            {"question": "Sort by product", "order": ["descending"], "limit": 1},
            ["toaster"],
        ),
    ],
)
def test_rows_come_in_the_order_asked_for(given: Any, expected: list[str]) -> None:
    assert products(analyse("sort_rows", table=SALES, **given)) == expected


def test_numbers_dates_and_texts_are_each_in_their_own_order() -> None:
    table = [{"a": a} for a in ["b", 10, "A", 9, None, "9 pieces", True]]

    output = analyse("sort_rows", table=table, by="a")

    assert [row[0] for row in output["table"]["rows"]][-1] is None
    assert [row[0] for row in output["table"]["rows"]][1:3] == [9, 10]


@pytest.mark.parametrize(
    "given",
    [
        {},
        {"question": "sort it"},
        {"by": "colour"},
        {"by": 5},
        {"by": "price", "order": "up"},
        {"by": "price", "limit": 0},
    ],
)
def test_an_order_that_is_not_clear_is_refused(given: Any) -> None:
    table = "price,cost\n1,2"

    with pytest.raises(ArmInputError):
        analyse("sort_rows", table=table, **given)


def test_the_first_of_the_same_rows_is_kept() -> None:
    table = "name,n\nAnn,1\nBob,2\n ann ,1\nAnn,1\nBob,3"

    output = analyse("deduplicate_rows", table=table)

    assert output["table"]["rows"] == [["Ann", 1], ["Bob", 2], ["Bob", 3]]
    assert output["groups"] == [{"kept": 1, "duplicates": [3, 4]}]
    assert (output["kept_count"], output["duplicate_count"]) == (3, 2)


def test_chosen_columns_decide_what_is_the_same() -> None:
    output = analyse("deduplicate_rows", table=SALES, columns=["product"])

    assert products(output) == ["kettle", "phone", "toaster"]


PEOPLE = "id,name\n1,Ann\n2,Bob\n,Cyd\n3,Dee"
ORDERS = [{"id": 2, "item": "x"}, {"id": "1", "item": "y"}, {"id": 2, "item": "z"}]


@pytest.mark.parametrize(
    ("how", "rows"),
    [
        ("inner", [[1, "Ann", "y"], [2, "Bob", "x"], [2, "Bob", "z"]]),
        (
            "left",
            [
                [1, "Ann", "y"],
                [2, "Bob", "x"],
                [2, "Bob", "z"],
                [None, "Cyd", None],
                [3, "Dee", None],
            ],
        ),
    ],
)
def test_tables_are_joined_by_the_column_they_share(how: str, rows: Any) -> None:
    output = analyse("join", left=PEOPLE, right=ORDERS, how=how)

    assert output["table"] == {"columns": ["id", "name", "item"], "rows": rows}
    assert (output["matched_count"], output["only_left_count"]) == (3, 2)


def test_an_outer_join_keeps_the_key_of_what_has_no_partner() -> None:
    output = analyse("join", left="k,a\n1,x", right="K,a\n9,y", on="k", how="outer")

    assert output["table"] == {
        "columns": ["k", "a", "a 2"],
        "rows": [[1, "x", None], [9, None, "y"]],
    }
    assert output["only_right_count"] == 1


@pytest.mark.timeout(20)
def test_a_join_of_everything_with_everything_is_counted_and_cut() -> None:
    table = "k\n" + "1\n" * 20_000

    output = analyse("join", left=table, right=table)

    assert output["matched_count"] == 400_000_000
    assert output["table_cut"]
    assert len(output["table"]["rows"]) == 10_000


@pytest.mark.parametrize(
    "given",
    [{"right": "b\n1"}, {"right": "a\n1", "on": "b"}, {"right": "a\n1", "how": "x"}],
)
def test_joins_without_a_shared_column_are_refused(given: Any) -> None:
    with pytest.raises(ArmInputError):
        analyse("join", left="a\n1", **given)


@pytest.mark.parametrize(
    ("left", "right", "name"), [(None, "a\n1", "left"), ("a\n1", "", "right")]
)
def test_joining_with_nothing_says_what_to_supply(
    left: Any, right: Any, name: str
) -> None:
    with pytest.raises(MissingInputError, match=f"supply “{name}”"):
        analyse("join", left=left, right=right)


ODD = [{"a|b": 'x|y\n"z"', "n": 1.5}, {"a|b": "é", "n": None}]


def test_csv_and_json_hold_the_same_table() -> None:
    as_csv = analyse("convert", table=ODD, to="csv")["text"]
    as_json = analyse("convert", table=as_csv, question="Convert the CSV to JSON")

    assert as_json["format"] == "json"
    assert json.loads(as_json["text"]) == ODD


def test_markdown_keeps_each_row_in_one_line() -> None:
    output = analyse("convert", table=ODD, question="as a markdown table")

    assert output["text"].splitlines() == [
        "| a\\|b | n |",
        "| --- | ---: |",
        '| x\\|y "z" | 1.5 |',
        "| é |  |",
    ]


def test_prices_keep_their_cents_in_csv() -> None:
    assert analyse("convert", table="p\n10.50", to=["csv"])["text"] == "p\n10.50"


@pytest.mark.parametrize("to", ["xml", ["csv", "json"], 5])
def test_other_forms_are_refused(to: Any) -> None:
    with pytest.raises(ArmInputError, match="csv, json, markdown"):
        analyse("convert", table=SALES, to=to)


def test_a_table_too_large_for_an_output_is_cut_and_told() -> None:
    table = [{"a": "x" * 1_000} for _ in range(5_000)]

    output = analyse("convert", table=table, to="csv")

    assert output["text_cut"]
    assert len(output["text"]) < 3_100_000
    assert "cut" in output["method"]


@pytest.mark.parametrize("capability", NEEDS)
def test_many_rows_are_cut_to_what_an_output_holds(capability: str) -> None:
    table = "a,b\n" + "".join(f"1,{number}\n" for number in range(12_000))

    output = analyse(capability, table=table, **NEEDS[capability])

    if capability != "convert":
        assert output["table_cut"]
        assert len(output["table"]["rows"]) == 10_000
    assert output["row_count"] == 12_000


@pytest.mark.parametrize("capability", NEEDS)
@pytest.mark.parametrize("table", [None, "", [], "a,b"])
def test_no_rows_are_missing_input(capability: str, table: Any) -> None:
    with pytest.raises(MissingInputError):
        analyse(capability, table=table, **NEEDS[capability])


@pytest.mark.parametrize("capability", [*NEEDS, "join"])
def test_work_on_rows_stops_when_its_time_is_over(capability: str) -> None:
    given = {"table": "a\n1", "left": "a\n1", "right": "a\n1"} | NEEDS.get(
        capability, {}
    )

    with pytest.raises(DeadlineExceededError):
        AnalystArm().execute(
            make_request(capability, given), make_services(timeout_s=0)
        )


@pytest.mark.parametrize(
    "piece", ["price ", "price is ", "or more ", "between ", "'", " "]
)
@pytest.mark.timeout(20)
def test_hostile_questions_take_no_time(piece: str) -> None:
    with pytest.raises(ArmInputError):
        analyse("filter_rows", table=SALES, question=f"price {piece * 200_000} or")


def test_half_a_surrogate_in_a_table_is_refused() -> None:
    with pytest.raises(ArmInputError, match="surrogate"):
        analyse("convert", table='[{"a": "\\ud800"}]')
