"""The compiler's last pass: cheaper arms, fewer steps, fewer waits."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from planner.compiler import compile_plan
from planner.observed import Observed
from planner.plan import Plan, Source
from tests.planner.cases import (
    ANALYST,
    CATALOGUE,
    TEXTS,
    capability,
    chain,
    make_contract,
    make_draft,
    step,
)

FROM_GOAL = {"goal": {"$from": "goal"}}


def compiled(
    *steps: Any,
    source: Source = "recipe",
    others: tuple[ArmSpec, ...] = (),
    **given: Any,
) -> Plan:
    return compile_plan(
        make_draft(*steps, result=given.pop("result", {})),
        contract=make_contract(**given),
        catalogue=(*CATALOGUE, *others),
        source=source,
    )


def other_analyst(
    name: str = "bargain", *, changes: dict[str, Any] | None = None, **fields: Any
) -> ArmSpec:
    """Return an arm with the analyst's keywords, for nothing and at once."""
    given: dict[str, Any] = {"cost_usd": Decimal(0), "seconds": 0.5} | (changes or {})
    offer = replace(ANALYST.capabilities[1], **given)
    return replace(ANALYST, name=name, synonyms=(), capabilities=(offer,), **fields)


def test_steps_in_any_order_come_out_in_working_order() -> None:
    plan = compiled(*reversed(chain()))

    assert [each.step_id for each in plan.steps] == ["1", "3", "2"]


def test_identical_steps_are_merged_and_their_readers_follow() -> None:
    steps = [
        step("1", "fetch_documents", input=FROM_GOAL, criteria=[0]),
        step("2", "fetch_documents", input=FROM_GOAL, criteria=[1]),
        step("3", input={"texts": {"$from": "steps.2.texts"}}, depends_on=["2"]),
    ]

    plan = compiled(*steps, source="model", acceptance_criteria=("One", "Two"))

    assert [each.step_id for each in plan.steps] == ["1", "3"]
    assert plan.steps[1].input == {"texts": {"$from": "steps.1.texts"}}
    assert plan.steps[1].depends_on == ("1",)
    assert plan.steps[0].criteria == (0, 1)
    assert "merged" in plan.repairs[0]


def test_steps_with_effects_are_never_merged() -> None:
    calls = [step(str(n), "http", input={"host": "same"}) for n in range(2)]

    assert len(compiled(*calls).steps) == 2


def test_a_wait_for_a_step_without_effect_or_use_is_dropped() -> None:
    plan = compiled(step("1"), step("2", "keywords", depends_on=["1"]))

    assert plan.steps[1].depends_on == ()
    assert "need not wait" in plan.repairs[0]


def test_a_wait_for_a_step_with_effects_is_kept() -> None:
    call = step("1", "http", input={"host": "a"})

    plan = compiled(call, step("2", depends_on=["1"]))

    assert plan.steps[1].depends_on == ("1",)


def test_the_cheapest_arm_that_does_the_same_is_taken() -> None:
    cheap, cheaper = other_analyst("low"), other_analyst("lower")
    dear = replace(cheap, capabilities=(ANALYST.capabilities[1],), name="also")

    plan = compiled(step("1", "keywords"), others=(dear, cheaper, cheap))

    assert plan.steps[0].arm == "low"
    assert plan.total_estimated_cost == 0
    assert plan.repairs[0].startswith("R012: step “1”: “low” does “keywords”")


def test_of_arms_at_one_price_the_faster_is_taken() -> None:
    fast = other_analyst("fast", changes={"cost_usd": Decimal("0.10"), "seconds": 1.0})

    assert compiled(step("1", "keywords"), others=(fast,)).steps[0].arm == "fast"


def test_what_was_observed_decides_which_arm_is_cheaper(observe: Any) -> None:
    observe(
        {
            ("bargain", "keywords"): Observed(
                count=90, p50_s=1.0, p90_s=1.0, p50_cost_usd=Decimal("0.50")
            )
        }
    )

    assert compiled(step("1", "keywords"), others=(other_analyst(),)).steps[0].arm == (
        "analyst"
    )


@pytest.mark.parametrize(
    "other",
    [
        other_analyst(changes={"cost_usd": Decimal("0.10"), "seconds": 3.0}),
        other_analyst(changes={"name": "key_words"}),
        other_analyst(is_repeatable=False),
        other_analyst(sees=frozenset({"EMAIL"})),
        other_analyst(changes={"uses": ("network",)}),
        other_analyst(changes={"output_schema": {"properties": {"keywords": {}}}}),
        other_analyst(
            changes={
                "output_schema": {
                    "properties": {
                        "keywords": {"type": "string"},
                        "method": {"type": "string"},
                    }
                }
            }
        ),
        other_analyst(
            changes={"input_schema": {"properties": {"words": TEXTS}, "required": []}}
        ),
        other_analyst(
            changes={
                "input_schema": {
                    "properties": {"texts": TEXTS, "language": {}},
                    "required": ["language"],
                }
            }
        ),
    ],
    ids=[
        "no cheaper",
        "another capability",
        "acts on the world",
        "is shown more",
        "uses more",
        "gives less",
        "gives another type",
        "takes another input",
        "needs another input",
    ],
)
def test_an_arm_that_does_not_do_the_same_is_not_taken(other: ArmSpec) -> None:
    plan = compiled(step("1", "keywords"), others=(other,))

    assert plan.steps[0].arm == "analyst"
    assert plan.repairs == ()


@pytest.mark.parametrize(
    "given",
    [
        {"source": "caller"},
        {"assigned_arm": "analyst"},
        {"constraints": ("Use only the analyst",)},
        {"constraints": ("Do not use bargain",)},
        {"away": {"bargain": "no disk"}},
    ],
    ids=["the caller's plan", "assigned", "only another", "ruled out", "away"],
)
def test_a_cheaper_arm_that_is_not_wanted_is_not_taken(given: dict[str, Any]) -> None:
    plan = compiled(step("1", "keywords"), others=(other_analyst(),), **given)

    assert plan.steps[0].arm == "analyst"


def test_an_arm_that_is_away_is_replaced_by_the_only_one_that_does_the_same() -> None:
    plan = compiled(
        step("1", "keywords"), others=(other_analyst(),), away={"analyst": "no lexicon"}
    )

    assert plan.steps[0].arm == "bargain"
    assert plan.repairs == (
        "R011: step “1”: arm “analyst” is away now; “bargain” does “keywords” in its "
        "place.",
    )


@pytest.mark.parametrize(
    ("others", "said"),
    [
        ((), "no other arm has “keywords”"),
        ((other_analyst("a"), other_analyst("b")), "use a or b, which also has"),
    ],
)
def test_an_arm_that_is_away_is_refused_when_nothing_else_is_meant(
    others: tuple[ArmSpec, ...], said: str
) -> None:
    with pytest.raises(InvalidPlanError) as caught:
        compiled(step("1", "keywords"), others=others, away={"analyst": "no lexicon"})

    (violation,) = caught.value.violations
    assert violation.startswith(
        "P021: step “1”: arm “analyst” is away now (no lexicon);"
    )
    assert said in violation


def test_steps_of_a_model_are_one_only_if_they_are_for_the_same() -> None:
    writer = ArmSpec(
        name="writer",
        version="1",
        description="Writes.",
        capabilities=(
            capability("write", {"about": {}}, {"written": {}}, uses=("model",)),
        ),
        is_repeatable=True,
    )
    drafts = [
        {"step_id": str(n), "arm": "writer", "capability": "write", "description": what}
        for n, what in enumerate(("A title", "A title", "A summary"))
    ]

    assert len(compiled(*drafts, others=(writer,)).steps) == 2


def test_a_step_whose_output_nobody_uses_is_kept() -> None:
    plan = compiled(
        step("1"),
        step("2", "keywords"),
        result={"score": {"$from": "steps.1.sentiment_score"}},
    )

    assert len(plan.steps) == 2
