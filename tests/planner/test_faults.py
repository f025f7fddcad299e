"""Everything that a model's server can do wrong, with the planner on top.

Real sockets. Whatever the server does, planning ends in its time with a plan that
compiles again or with the error that is documented, and no charge stays open.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from arms.registry import catalogue
from octollm.errors import (
    BudgetExceededError,
    InvalidPlanError,
    ModelAnswerError,
    ModelMisconfiguredError,
    ModelRefusedError,
    ModelTruncatedError,
    ModelUnavailableError,
    OctoLLMError,
)
from octollm.resilience import outbound
from planner.compiler import compile_plan
from planner.draft import PlanDraft
from planner.plan import Plan, PlanningContract, step_to_json
from planner.planning import make_plan
from tests import fakes
from tests.fakes import Answer, FakeModel
from tests.ledgers import MemoryMeter, make_services
from tests.planner.cases import make_contract

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("engines")]

# No recipe fits it, so what the model does decides.
OPEN_GOAL = "Prepare the product reviews for the board meeting"
# A recipe fits it.
PLAIN_GOAL = "Analyze sentiment of product reviews"
# Planning alone may take this long here; what is too late by far is a failure.
PLAN_TIMEOUT_S = 3.0
SHORT_TIMEOUT_S = 0.8
TOO_LATE_S = 15.0


def model_step(step_id: str, capability: str, **fields: Any) -> Any:
    return {
        "step_id": step_id,
        "description": f"Step {step_id}.",
        "arm": "analyst",
        "capability": capability,
        "depends_on": [],
        "inputs": [{"name": "texts", "from": "context.reviews", "value": ""}],
        "criteria": [],
    } | fields


def plan_text(*steps: Any) -> str:
    return json.dumps({"steps": list(steps)})


ONE, TWO = model_step("1", "sentiment"), model_step("2", "keywords")
THREE = model_step("3", "summarise")
GOOD = plan_text(ONE, TWO, THREE)
CIRCLE = plan_text(
    ONE | {"depends_on": ["3"]},
    TWO | {"depends_on": ["1"]},
    THREE | {"depends_on": ["2"]},
)
COMMENTED = GOOD.replace('{"steps": [', '{"steps": [ // three steps\n').replace(
    '"criteria": []}]', '"criteria": [], /* none */}]'
)
ABSURD_USAGE = [
    None,
    {"prompt_tokens": -5, "completion_tokens": 10**9, "total_tokens": 0},
    {"prompt_tokens": "many", "completion_tokens": None, "total_tokens": 1.5},
    "unknown",
]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the server does, and what comes of it.

    Attributes:
        answers: what it answers first; afterwards it is well.
        error: what planning ends in if the server goes on like that, ``None`` if a
            plan comes all the same.
        rules: rules that the error names.
        charges: how charges may end beside being settled.
        is_final: whether a recipe must not hide it.
        timeout_s: what planning may take.
        limits: fields of the contract.
    """

    answers: tuple[Answer, ...]
    error: type[OctoLLMError] | None = None
    rules: frozenset[str] = frozenset()
    charges: frozenset[str] = frozenset()
    is_final: bool = False
    timeout_s: float = PLAN_TIMEOUT_S
    limits: dict[str, Any] = field(default_factory=dict)


def bad_plan(*rules: str, text: str, **limits: Any) -> Fault:
    """Answer with a plan that breaks rules; the model is told and asked again."""
    return Fault(
        answers=(fakes.completion(text),),
        error=InvalidPlanError,
        rules=frozenset(rules),
        limits=limits,
    )


def odd(text: str) -> Fault:
    """Answer with a plan in a form that is read all the same."""
    return Fault(answers=(fakes.completion(text),))


def down(answer: Answer, *charges: str) -> Fault:
    return Fault(
        answers=(answer,), error=ModelUnavailableError, charges=frozenset(charges)
    )


def slow(answer: Answer) -> Fault:
    return Fault(
        answers=(answer,),
        error=ModelUnavailableError,
        charges=frozenset({"presumed"}),
        timeout_s=SHORT_TIMEOUT_S,
    )


def garbled(answer: Answer, *charges: str) -> Fault:
    return Fault(answers=(answer,), error=ModelAnswerError, charges=frozenset(charges))


FAULTS: dict[str, Fault] = {
    # What passes, and is waited for or tried again.
    "429 for a short time": down(fakes.error(429, Retry_After="1"), "released"),
    "429 without a time": down(fakes.error(429), "released"),
    "500": down(fakes.error(500), "released", "presumed"),
    "502": down(fakes.error(502), "presumed"),
    "503 for a short time": down(fakes.error(503, Retry_After="0"), "released"),
    "connection reset": down(fakes.reset(), "presumed"),
    # What takes too long.
    "429 for too long": Fault(
        answers=(fakes.error(429, Retry_After="99"),),
        error=ModelUnavailableError,
        charges=frozenset({"released"}),
    ),
    "one byte a second": slow(fakes.drip(GOOD, every_s=1.0)),
    "silence": slow(fakes.hang()),
    "an answer that comes too late": slow(fakes.slow(5.0, fakes.completion(GOOD))),
    # What is no answer.
    "HTML with status 200": garbled(fakes.html(), "presumed"),
    "no choices": garbled(fakes.without_choices(), "presumed"),
    "an empty body": garbled(fakes.raw(""), "presumed"),
    "half a body": garbled(fakes.raw('{"choices": [{"mess'), "presumed"),
    "a list": garbled(fakes.raw("[1, 2]"), "presumed"),
    "an empty answer": garbled(fakes.completion("")),
    "no text": garbled(fakes.completion(None)),
    "thoughts alone": garbled(fakes.completion(f"<think>{GOOD}")),
    # What people have to see.
    "a refusal": Fault(
        answers=(fakes.completion("", refusal="I won't."),),
        error=ModelRefusedError,
        is_final=True,
    ),
    "a filter": Fault(
        answers=(fakes.completion("", finish_reason="content_filter"),),
        error=ModelRefusedError,
        is_final=True,
    ),
    "a wrong key": Fault(
        answers=(fakes.error(401),),
        error=ModelMisconfiguredError,
        charges=frozenset({"released"}),
        is_final=True,
    ),
    "no such model": Fault(
        answers=(fakes.error(404, "no such model"),),
        error=ModelMisconfiguredError,
        charges=frozenset({"released"}),
        is_final=True,
    ),
    # A plan in odd clothes.
    "a fence": odd(f"```json\n{GOOD}\n```"),
    "prose around it": odd(f"Of course! {GOOD} Good luck."),
    "comments and a trailing comma": odd(COMMENTED),
    "thoughts in front": odd(f"<think>{{}} or []?</think>{GOOD}"),
    "single quotes": odd(GOOD.replace('"', "'")),
    # What was cut off.
    "cut off and says so": Fault(
        answers=(fakes.completion(GOOD[:200], finish_reason="length"),),
        error=ModelTruncatedError,
    ),
    "whole and said to be cut off": Fault(
        answers=(fakes.completion(GOOD, finish_reason="length"),),
        error=ModelTruncatedError,
    ),
    "cut off in silence": bad_plan(text=GOOD[: len(GOOD) // 2]),
    # A plan that is none.
    "no plan": bad_plan("P000", text="I would do it step by step."),
    "an empty plan": bad_plan("P001", text=plan_text()),
    "too few steps": bad_plan("P001", text=plan_text(ONE)),
    "too many steps": bad_plan(
        "P001", text=plan_text(*(ONE | {"step_id": str(n)} for n in range(20)))
    ),
    "duplicate ids": bad_plan(
        "P002", text=plan_text(ONE, TWO | {"step_id": "1"}, THREE)
    ),
    "a cycle": bad_plan("P003", text=CIRCLE),
    "an unknown arm": bad_plan(
        "P004", text=plan_text(ONE, TWO, THREE | {"arm": "wizard"})
    ),
    "an unknown capability": bad_plan(
        "P005", text=plan_text(ONE, TWO, THREE | {"capability": "conjure"})
    ),
    "a missing input": bad_plan(
        "P011", text=plan_text(ONE, TWO, THREE | {"inputs": []})
    ),
    "steps that are no steps": bad_plan("P000", text='{"steps": [1, "two", null]}'),
    "nesting without end": bad_plan("P000", text='{"steps": ' + "[" * 5_000),
    # Usage that cannot be.
    **{
        f"usage {usage}": Fault(answers=(fakes.completion(GOOD, usage=usage),))
        for usage in ABSURD_USAGE
    },
}
LASTING = {name: fault for name, fault in FAULTS.items() if fault.error is not None}
# A recipe is done by then, or the next answer is right.
PASSING = {
    name: fault
    for name, fault in FAULTS.items()
    if not fault.is_final and fault.timeout_s == PLAN_TIMEOUT_S
    # One of these has the model left alone or the plan refused at once.
    and fault.error is not ModelAnswerError and name != "429 for too long"
}


@pytest.fixture
def model(settings: Any) -> Iterator[FakeModel]:
    with FakeModel() as fake:
        # A name of its own, so that no test meets the breaker of another.
        settings.OCTOLLM_LLM_PROVIDERS = [
            {
                "name": f"faulty-{fake.base_url.split(':')[2].split('/')[0]}",
                "base_url": fake.base_url,
                "model": "fake-model",
            }
        ]
        settings.OCTOLLM_PLAN_TIMEOUT_S = PLAN_TIMEOUT_S
        fake.default = fakes.completion(GOOD)
        yield fake
        outbound.shutdown()


def planned(contract: PlanningContract, meter: MemoryMeter) -> Plan:
    """Plan, and look at what holds however it ends: the time and the ledger."""
    started = time.monotonic()
    try:
        plan = make_plan(contract, make_services(meter, timeout_s=60.0))
    finally:
        assert time.monotonic() - started < TOO_LATE_S
        assert "held" not in meter.outcomes
    assert compiles_again(plan, contract)
    return plan


def compiles_again(plan: Plan, contract: PlanningContract) -> bool:
    """Compile a plan once more: it has to come out the same."""
    draft = PlanDraft.model_validate(
        {"steps": [step_to_json(step) for step in plan.steps], "result": plan.result}
    )
    again = compile_plan(
        draft, contract=contract, catalogue=catalogue(), source=plan.source
    )
    return again.steps == plan.steps and again.result == plan.result


@pytest.mark.parametrize("fault", PASSING.values(), ids=list(PASSING))
def test_a_fault_that_passes_leaves_a_plan_of_the_model(
    model: FakeModel, settings: Any, fault: Fault
) -> None:
    settings.OCTOLLM_PLAN_TIMEOUT_S = 20.0
    model.will(*fault.answers)
    meter = MemoryMeter()

    plan = planned(make_contract(goal=OPEN_GOAL, **fault.limits), meter)

    assert plan.source == "model"
    assert len(plan.steps) == 3
    assert set(meter.outcomes) <= {"settled"} | fault.charges


@pytest.mark.parametrize("fault", LASTING.values(), ids=list(LASTING))
def test_a_fault_that_lasts_ends_in_the_error_that_is_documented(
    model: FakeModel, settings: Any, fault: Fault
) -> None:
    settings.OCTOLLM_PLAN_TIMEOUT_S = fault.timeout_s
    model.default = fault.answers[0]
    meter = MemoryMeter()

    with pytest.raises(OctoLLMError) as caught:
        planned(make_contract(goal=OPEN_GOAL, **fault.limits), meter)

    assert type(caught.value) is fault.error
    assert set(meter.outcomes) <= {"settled"} | fault.charges
    assert meter.outcomes
    if isinstance(caught.value, InvalidPlanError):
        assert fault.rules <= {each[:4] for each in caught.value.violations}


@pytest.mark.parametrize("fault", LASTING.values(), ids=list(LASTING))
def test_a_fault_that_lasts_leaves_a_recipe_where_one_fits(
    model: FakeModel, settings: Any, fault: Fault
) -> None:
    settings.OCTOLLM_PLAN_TIMEOUT_S = fault.timeout_s
    model.default = fault.answers[0]
    contract = make_contract(goal=PLAIN_GOAL, **fault.limits)

    if fault.is_final:
        with pytest.raises(OctoLLMError) as caught:
            planned(contract, MemoryMeter())
        assert type(caught.value) is fault.error
    else:
        assert planned(contract, MemoryMeter()).source == "recipe"


def test_a_plan_over_the_budget_in_time_is_sent_back(model: FakeModel) -> None:
    chained = THREE | {"depends_on": ["2"]}
    chained["inputs"] = [{"name": "texts", "from": "steps.2.keywords", "value": ""}]
    model.will(fakes.completion(plan_text(ONE, TWO, chained)))
    meter = MemoryMeter()

    plan = planned(make_contract(goal=OPEN_GOAL, max_time_s=3.5), meter)

    assert "P020" in model.requests[1].text
    assert plan.total_estimated_time <= 3.5
    assert meter.outcomes == ["settled", "settled"]


def test_a_plan_that_stays_over_the_budget_is_refused(model: FakeModel) -> None:
    with pytest.raises(InvalidPlanError) as caught:
        planned(make_contract(goal=OPEN_GOAL, max_time_s=0.5), MemoryMeter())

    assert {each[:4] for each in caught.value.violations} == {"P020"}


def test_a_budget_that_pays_no_prompt_sends_none(model: FakeModel) -> None:
    meter = MemoryMeter(max_tokens=100)

    with pytest.raises(BudgetExceededError):
        planned(make_contract(goal=OPEN_GOAL), meter)

    assert model.requests == []
    assert planned(make_contract(goal=PLAIN_GOAL), meter).source == "recipe"


def test_usage_above_the_hold_is_booked_and_spoils_nothing(model: FakeModel) -> None:
    usage = {"prompt_tokens": 20_000, "completion_tokens": 9, "total_tokens": 20_009}
    model.will(fakes.completion(GOOD, usage=usage))
    meter = MemoryMeter()

    plan = planned(make_contract(goal=OPEN_GOAL), meter)

    assert plan.source == "model"
    assert meter.usages[0].input_tokens == 20_000


def test_a_server_that_is_not_there_is_told_apart_from_one_that_fails(
    model: FakeModel,
) -> None:
    model.stop()
    meter = MemoryMeter()

    with pytest.raises(ModelUnavailableError):
        planned(make_contract(goal=OPEN_GOAL), meter)

    assert set(meter.outcomes) == {"released"}


# Formats of answers -------------------------------------------------------------
FORMATS: dict[str, tuple[dict[str, Answer], tuple[Answer, ...], str | None]] = {
    "takes the schema": ({}, (), "json_schema"),
    "refuses the schema with 400": (
        {"json_schema": fakes.error(400, "response_format is not supported")},
        (),
        "json_object",
    ),
    "refuses the schema with 500": (
        {"json_schema": fakes.error(500, "json_schema: Input should be 'text'")},
        (),
        "json_object",
    ),
    "refuses JSON mode too": (
        {"json_schema": fakes.error(400), "json_object": fakes.error(422)},
        (),
        None,
    ),
    # What it writes can be read, so nothing is lost by asking for the schema.
    "ignores the schema and writes a fence": (
        {},
        (fakes.completion(f"Sure:\n```json\n{GOOD}\n```"),),
        "json_schema",
    ),
    # It is told so, and asked in words from then on.
    "ignores the schema and writes prose": (
        {},
        (fakes.completion("First I would read the reviews."),),
        None,
    ),
}


def formats_asked_for(model: FakeModel) -> list[str | None]:
    return [
        (request.body.get("response_format") or {}).get("type")
        for request in model.requests
    ]


@pytest.mark.parametrize(
    ("unsupported", "answers", "settled_on"), FORMATS.values(), ids=list(FORMATS)
)
def test_each_server_settles_on_a_form_it_takes_within_one_plan(
    model: FakeModel,
    unsupported: dict[str, Answer],
    answers: tuple[Answer, ...],
    settled_on: str | None,
) -> None:
    model.unsupported = unsupported
    model.will(*answers)

    first = planned(make_contract(goal=OPEN_GOAL), MemoryMeter())
    asked = len(model.requests)
    second = planned(make_contract(goal=f"{OPEN_GOAL}, again"), MemoryMeter())

    assert (first.source, second.source) == ("model", "model")
    # The next plan begins where this one ended, and needs one request.
    assert formats_asked_for(model)[asked:] == [settled_on]
