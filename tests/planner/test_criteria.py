"""Which step serves which acceptance criterion."""

from __future__ import annotations

from typing import Any

import pytest

from planner.compiler import compile_plan
from planner.plan import Plan
from tests.planner.cases import CATALOGUE, chain, make_contract, make_draft


def compiled(*steps: Any, **contract: Any) -> Plan:
    return compile_plan(
        make_draft(*steps),
        contract=make_contract(**contract),
        catalogue=CATALOGUE,
        source="recipe",
    )


@pytest.mark.parametrize(
    ("criterion", "served_by"),
    [
        ("Sentiment score between -1 and 1", {"2"}),
        ("Sentiment score -1 to 1", {"2"}),
        ("At least 5 keywords", {"3"}),
        ("Each keyword has a weight", {"3"}),
        ("The sentiment of every review is known", {"2"}),
        ("The mood of each text", {"2"}),
        ("The score is high", set()),
        ("No PII in output", {"2", "3"}),
        ("The tone is friendly", set()),
    ],
)
def test_each_criterion_is_served_or_said_not_to_be(
    criterion: str, served_by: set[str]
) -> None:
    plan = compiled(*chain(), acceptance_criteria=(criterion,))

    assert {each.step_id for each in plan.steps if each.criteria} == served_by
    assert bool(plan.unserved) is not bool(served_by)


def test_a_claim_of_the_draft_is_kept() -> None:
    steps = chain()
    steps[2]["criteria"] = [0]

    plan = compiled(*steps, acceptance_criteria=("Sentiment score -1 to 1",))

    assert plan.steps[1].criteria == ()
    assert plan.steps[2].criteria == (0,)


def test_a_criterion_that_nobody_serves_says_why() -> None:
    plan = compiled(*chain(), acceptance_criteria=("No PII", "The tone is friendly"))

    assert plan.unserved == (
        (1, "No step gives what it speaks of; it is judged by the result."),
    )
