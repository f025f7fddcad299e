"""A plan that carries values of the context is told from one that refers to them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner.quotation import quotes_context
from tests.planner.cases import make_contract

CONTEXT: dict[str, Any] = {
    "reviews": [
        "The hinge of the lid broke after a single day of use.",
        "Great product.",
    ],
    "customer": {"name": "Ann Smith", "id": 4711, "tier": "A"},
    "city": "東京都港区",
    "limit": 5,
    "share": 0.25,
}


def quotes(written: Any, **contract: Any) -> bool:
    return quotes_context(
        written, make_contract(**({"goal": "Do it", "context": CONTEXT} | contract))
    )


@pytest.mark.parametrize(
    "written",
    [
        {"who": "Ann Smith"},
        {"who": "ann  SMITH"},
        {"who": "Write to Ann Smith, please"},
        {"query": "hinge of the lid"},
        {"query": "broke"},
        {"order": 4711},
        {"order": "4711"},
        {"order": "No. 4711-B"},
        {"share": 0.25},
        {"tier": "A"},
        {"Ann Smith": True},
        {"deep": [[{"x": ["Great product."]}]]},
        {"where": "港区"},
        "Find out why the hinge of the lid came off.",
        "Greet Ann Smith.",
    ],
)
def test_a_value_of_the_context_is_a_quotation(written: Any) -> None:
    assert quotes(written)


@pytest.mark.parametrize(
    "written",
    [
        {"texts": {"$from": "context.reviews"}},
        {"who": {"$from": "context.customer.name"}},
        {"limit": 5, "is_sorted": True, "none": None},
        {"limit": 47},
        {"name": "customer"},
        {"method": "smithing"},
        "Score the sentiment of the reviews.",
        "The lid of the box and a day of rest.",
        "",
        [],
    ],
)
def test_references_keys_and_common_words_are_none(written: Any) -> None:
    assert not quotes(written)


@pytest.mark.parametrize(
    "said",
    [
        {"goal": "Write to Ann Smith"},
        {"constraints": ("Address Ann Smith formally",)},
        {"acceptance_criteria": ("Names Ann Smith",)},
        {"context": CONTEXT | {"Ann Smith": 1}},
    ],
    ids=["goal", "constraint", "criterion", "key"],
)
def test_what_the_request_says_elsewhere_too_is_none(said: dict[str, Any]) -> None:
    assert quotes({"who": "Ann Smith"})
    assert not quotes({"who": "Ann Smith"}, **said)


def test_part_of_a_goal_frees_no_more_than_it_says() -> None:
    assert quotes({"who": "Ann Smith"}, goal="Write to Ann")


@given(
    text=st.text(st.characters(categories=("L", "N")), min_size=1),
    before=st.sampled_from(["", "See ", "« "]),
)
def test_any_text_is_found_where_it_is_quoted(text: str, before: str) -> None:
    context = {"k": f"{text} 1234567"}

    assert quotes(f"{before}{text} 1234567", context=context)


def test_a_large_context_is_read_in_good_time() -> None:
    context = {"rows": [f"row {n} of the table says {n * n}" for n in range(20_000)]}

    assert not quotes("Summarise the figures.", context=context)
    assert quotes("The table says 399960001", context=context)
