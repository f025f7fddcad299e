"""Constraints that a plan alone can break, and those that only sound like it."""

from __future__ import annotations

from typing import Any

import pytest

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from planner.compiler import compile_plan
from planner.constraint_words import Reading, read
from planner.constraints import forbids_model
from planner.plan import Plan
from tests.planner.cases import CATALOGUE, capability, chain, make_contract, make_draft

WORKER = ArmSpec(
    name="worker",
    version="1",
    description="Does what is forbidden.",
    capabilities=tuple(
        capability(name, {}, {"done": {}}, uses=(name.removeprefix("with_"),))
        for name in ("with_model", "with_network", "with_code", "with_tools")
    ),
    synonyms=("work_horse",),
)


def compiled(*steps: Any, **contract: Any) -> Plan:
    return compile_plan(
        make_draft(*steps),
        contract=make_contract(**contract),
        catalogue=(*CATALOGUE, WORKER),
        source="recipe",
    )


def working(capability_name: str) -> dict[str, Any]:
    return {"step_id": "1", "arm": "worker", "capability": capability_name}


@pytest.mark.parametrize(
    ("ban", "constraint"),
    [
        ("network", "No network"),
        ("network", "No external network access"),
        ("network", "Do not use the internet."),
        ("network", "without access to the web"),
        ("network", "Network access is forbidden"),
        ("network", "Must not make any external API calls"),
        ("network", "No HTTP requests, please"),
        ("network", "Work entirely offline"),
        ("network", "offline"),
        ("network", "No code execution or network access"),
        ("code", "No code execution"),
        ("code", "Do not run any code"),
        ("code", "Never execute scripts"),
        ("code", "No shell commands"),
        ("code", "no network or code execution"),
        ("code", "Shell is not allowed"),
        ("tools", "No external tools"),
        ("tools", "Don't use tools"),
        ("tools", "Tools must not be used"),
        ("model", "No model"),
        ("model", "Without an AI model"),
        ("model", "Do not use any LLM"),
        ("model", "No large language models!"),
        ("model", "No AI"),
        ("model", "Models are not allowed"),
    ],
)
def test_what_a_constraint_bans_is_refused(ban: str, constraint: str) -> None:
    with pytest.raises(InvalidPlanError) as caught:
        compiled(working(f"with_{ban}"), constraints=(constraint,))

    assert caught.value.violations == (
        f"P017: step “1”: the constraint “{constraint}” forbids “with_{ban}”.",
    )


@pytest.mark.parametrize(
    "constraint",
    [
        "No PII",
        "No internet slang",
        "Mention no competitor on the web",
        "Do not quote model numbers",
        "No AI jargon",
        "Not a word about the network team",
        "Compare online and offline sales",
        "No code in the answer",
        "No tools named by brand",
        "List the commands",
        "Use the network diagram",
        "The model must be named",
        "without modelling assumptions",
        "No keywords",
        "Without sentiment",
        "For analysts only",
        "Only facts",
        "Only the analyst's words",
        "Explain it in at most 3 steps",
        "The recipe has at most 2 steps",
        "Use 1 step",
        "At least 9 steps",
        "No network" + " whatever" * 50,
    ],
)
def test_what_speaks_of_the_result_bans_nothing(constraint: str) -> None:
    steps = [
        working(offer.name) | {"step_id": f"w{place}"}
        for place, offer in enumerate(WORKER.capabilities)
    ]

    assert len(compiled(*chain(), *steps, constraints=(constraint,)).steps) == 7


@pytest.mark.parametrize(
    ("constraint", "forbidden"),
    [
        ("Use only the analyst", {"retriever", "worker"}),
        ("only the analyst arm", {"retriever", "worker"}),
        ("Please only use analyst and retriever.", {"worker"}),
        ("Analyst only", {"retriever", "worker"}),
        ("use analyst, retriever only", {"worker"}),
        ("Use only the work-horse and the data_analyst", {"retriever"}),
        ("without the retriever", {"retriever"}),
        ("No worker", {"worker"}),
        ("Do not use the retriever or the worker", {"retriever", "worker"}),
        ("Avoid using the arm work_horse", {"worker"}),
        ("Use only the analyst and magic", set()),
        ("without the retriever's help", set()),
    ],
)
def test_arms_are_ruled_out_by_name(constraint: str, forbidden: set[str]) -> None:
    drafts = [*chain(), working("with_code") | {"step_id": "4"}]
    found: set[str] = set()

    try:
        compiled(*drafts, constraints=(constraint,))
    except InvalidPlanError as error:
        found = {each.rpartition("arm “")[2][:-2] for each in error.violations}

    assert found == forbidden


def test_a_capability_is_ruled_out_by_name() -> None:
    with pytest.raises(InvalidPlanError, match="forbids “sentiment”"):
        compiled(*chain(), constraints=("Do not use sentiment",))


@pytest.mark.parametrize(
    ("constraint", "limit"),
    [
        ("Use at most 1 step", 1),
        ("At most two steps.", 2),
        ("No more than 2 planning steps in total", 2),
        ("The plan must have fewer than 3 steps", 2),
        ("in 2 steps or fewer", 2),
        ("Do it in a single step", 1),
        ("max 2 steps", 2),
    ],
)
def test_steps_are_counted(constraint: str, limit: int) -> None:
    with pytest.raises(InvalidPlanError) as caught:
        compiled(*chain(), constraints=(constraint,))

    (violation,) = caught.value.violations
    assert f"allows {limit} steps; there are 3" in violation


def test_a_limit_that_is_kept_is_kept() -> None:
    plan = compiled(*chain(), constraints=("At most 3 steps", "Up to ten steps"))

    assert len(plan.steps) == 3


@pytest.mark.parametrize(
    ("constraints", "is_forbidden"),
    [
        (("No PII", "without an AI model"), True),
        (("No LLM",), True),
        (("No PII", "No model numbers"), False),
        ((), False),
    ],
)
def test_a_planner_learns_that_no_model_may_be_asked(
    constraints: tuple[str, ...], is_forbidden: bool
) -> None:
    assert forbids_model(constraints) is is_forbidden


def test_a_constraint_of_any_length_says_something_or_nothing() -> None:
    assert read("no " * 100_000) == Reading()
