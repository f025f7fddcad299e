"""What steps and plans cost and take, by the catalogue and as observed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from planner.compiler import compile_plan
from planner.estimates import PRIOR_COUNT, estimate
from planner.observed import Observed
from planner.plan import Plan
from tests.planner.cases import (
    CATALOGUE,
    capability,
    chain,
    make_contract,
    make_draft,
    step,
)

OFFER = capability("count", {}, {}, cost_usd="0.10", seconds=2.0)


def compiled(*steps: Any, **contract: Any) -> Plan:
    return compile_plan(
        make_draft(*steps),
        contract=make_contract(**contract),
        catalogue=CATALOGUE,
        source="recipe",
    )


def seen(count: int, **figures: Any) -> Observed:
    return Observed(**({"count": count, "p50_s": 10.0, "p90_s": 20.0} | figures))


@pytest.mark.parametrize("nothing", [None, seen(0)])
def test_the_catalogue_is_what_is_known_at_first(nothing: Observed | None) -> None:
    expected = estimate(OFFER, nothing)

    assert (expected.seconds, expected.seconds_p90) == (2.0, 2.0)
    assert expected.cost_usd == Decimal("0.10")


@pytest.mark.parametrize(
    ("count", "seconds", "slow"),
    [
        (1, 2.727, 3.636),
        (PRIOR_COUNT, 6.0, 11.0),
        (9 * PRIOR_COUNT, 9.2, 18.2),
    ],
)
def test_the_more_was_observed_the_more_it_counts(
    count: int, seconds: float, slow: float
) -> None:
    expected = estimate(OFFER, seen(count))

    assert (expected.seconds, expected.seconds_p90) == (seconds, slow)


@pytest.mark.parametrize(
    ("observed", "cost"),
    [
        ("0.02", "0.10"),
        ("0.10", "0.10"),
        ("0.30", "0.200000"),
        ("0.111111", "0.105556"),
    ],
)
def test_a_price_is_raised_by_what_was_paid_and_never_lowered(
    observed: str, cost: str
) -> None:
    expected = estimate(OFFER, seen(PRIOR_COUNT, p50_cost_usd=Decimal(observed)))

    assert str(expected.cost_usd) == cost


@given(
    count=st.integers(0, 10_000),
    half=st.floats(0, 10_000),
    tail=st.floats(0, 10_000),
    cost=st.decimals(0, 100, places=6),
)
def test_an_estimate_stays_between_the_catalogue_and_what_was_observed(
    count: int, half: float, tail: float, cost: Decimal
) -> None:
    expected = estimate(
        OFFER, seen(count, p50_s=half, p90_s=half + tail, p50_cost_usd=cost)
    )

    assert min(half, 2.0) - 0.001 <= expected.seconds <= max(half, 2.0) + 0.001
    assert expected.seconds <= expected.seconds_p90
    assert OFFER.cost_usd <= expected.cost_usd <= max(cost, OFFER.cost_usd)


def test_a_plan_adds_costs_and_takes_times_along_its_longest_chain(
    observe: Any,
) -> None:
    observe({("analyst", "sentiment"): seen(PRIOR_COUNT, p50_s=8.0, p90_s=28.0)})

    plan = compiled(*chain())

    times = [(s.estimated_time, s.estimated_time_p90) for s in plan.steps]
    assert times == [(1.0, 1.0), (5.0, 15.0), (3.0, 3.0)]
    assert plan.total_estimated_cost == Decimal("0.10")
    assert plan.total_estimated_time == 6.0  # the fetch, then the sentiment
    assert plan.total_estimated_time_p90 == 16.0
    assert plan.sum_estimated_time == 9.0


def test_a_plan_that_is_usually_in_time_passes_with_a_note(observe: Any) -> None:
    observe({("analyst", "sentiment"): seen(PRIOR_COUNT, p50_s=8.0, p90_s=28.0)})

    plan = compiled(step("1"), max_time_s=14.0)

    assert plan.repairs == (
        "N001: The steps may take 15 s if each is as slow as one in ten; the budget is "
        "14 s.",
    )


def writer(**uses: Any) -> ArmSpec:
    """Return an arm that reads, by a model or without one."""
    offer = capability("write", {"about": {}, "more": {}}, {"written": {}}, **uses)
    return ArmSpec(
        name="writer", version="1", description="Writes.", capabilities=(offer,)
    )


@pytest.mark.parametrize(
    ("uses", "max_tokens", "is_noted"),
    [(("model",), 2_000, True), (("model",), 4_000, False), ((), 2_000, False)],
)
def test_a_plan_says_when_models_are_to_read_more_than_the_budget(
    uses: tuple[str, ...], max_tokens: int, is_noted: bool
) -> None:
    about = {"about": {"$from": "context.text"}, "more": ["as it is"]}
    after = {"about": {"$from": "steps.1.written"}}
    first = step("1", arm="writer", capability="write", input=about)
    second = step("2", arm="writer", capability="write", input=after, depends_on=["1"])
    contract = make_contract(
        context={"text": "It broke. " * 1000}, max_tokens=max_tokens
    )

    plan = compile_plan(
        make_draft(first, second),
        contract=contract,
        catalogue=[*CATALOGUE, writer(uses=uses)],
        source="caller",
    )

    notes = [each for each in plan.repairs if each.startswith("N002: ")]
    assert bool(notes) is is_noted
    assert all("some 2" in note or "some 3" in note for note in notes)


def test_a_plan_that_is_usually_late_is_refused(observe: Any) -> None:
    observe({("analyst", "sentiment"): seen(PRIOR_COUNT, p50_s=8.0, p90_s=28.0)})

    with pytest.raises(InvalidPlanError, match=r"P020: .* takes 5 s"):
        compiled(step("1"), max_time_s=4.0)


def test_a_plan_is_refused_by_what_its_steps_really_cost(observe: Any) -> None:
    paid = seen(PRIOR_COUNT, p50_cost_usd=Decimal("2.00"))
    observe({("analyst", "keywords"): paid})

    with pytest.raises(InvalidPlanError, match=r"P019: The steps cost 1\.05"):
        compiled(step("1", "keywords"))


def test_times_without_rounding_noise(observe: Any) -> None:
    observe({("analyst", "sentiment"): seen(1, p50_s=0.1, p90_s=0.2)})
    steps = [step(str(n), input={"texts": [str(n)]}) for n in range(3)]

    plan = compiled(*steps)

    assert plan.sum_estimated_time == 5.481  # three times 1.827
