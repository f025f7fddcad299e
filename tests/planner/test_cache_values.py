"""What is kept in Redis: drafts and codes, sealed; anything else is no value."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from octollm.errors import (
    BudgetExceededError,
    CallCancelledError,
    DeadlineExceededError,
    InvalidPlanError,
    ModelRefusedError,
    ModelUnavailableError,
    OctoLLMError,
    UnpricedModelError,
)
from planner.compiler import compile_plan
from planner.kept import (
    MAX_BYTES,
    failure_text,
    plan_text,
    read_failure,
    read_plan,
)
from planner.plan import Plan
from tests.planner.cases import CATALOGUE, chain, make_contract, make_draft, step

KEY, OTHER_KEY = "a" * 64, "b" * 64
CONTRACT = make_contract(acceptance_criteria=("Sentiment score -1 to 1",))


def model_plan(*steps: dict[str, Any]) -> Plan:
    draft = make_draft(
        *(steps or chain()), model="fake-model", prompt_version="p", notes=("Mended.",)
    )
    return compile_plan(draft, contract=CONTRACT, catalogue=CATALOGUE, source="model")


def kept(plan: Plan | None = None) -> str:
    text = plan_text(plan or model_plan(), key=KEY, contract=CONTRACT)
    assert text is not None
    return text


def test_a_kept_plan_compiles_to_the_same_plan_again() -> None:
    plan = model_plan()

    draft = read_plan(kept(plan), key=KEY)

    assert draft is not None
    again = compile_plan(draft, contract=CONTRACT, catalogue=CATALOGUE, source="cache")
    assert again.source == "cache"
    assert (again.model, again.prompt_version) == ("fake-model", "p")
    assert again.steps == plan.steps
    assert again.result == plan.result
    assert again.repairs == plan.repairs


def test_estimates_are_not_kept() -> None:
    assert "estimated" not in kept()


def test_a_mended_plan_names_each_repair_once_however_often_it_is_kept() -> None:
    plan = model_plan(*(each | {"arm": each["arm"].upper()} for each in chain()))
    text = kept(plan)

    for _ in range(3):
        draft = read_plan(text, key=KEY)
        assert draft is not None
        plan = compile_plan(
            draft, contract=CONTRACT, catalogue=CATALOGUE, source="cache"
        )
        text = kept(plan)

    assert len(plan.repairs) == len(set(plan.repairs)) == 4


def test_a_plan_that_quotes_the_context_is_not_kept() -> None:
    quoting = [*chain()[:2], step("3", "keywords", description="Great product.")]

    assert plan_text(model_plan(*quoting), key=KEY, contract=CONTRACT) is None


def test_a_plan_with_personal_data_is_not_kept() -> None:
    address = "ann" + "@example.com"
    writing = [*chain()[:2], step("3", "keywords", description=f"Ask {address}.")]

    assert plan_text(model_plan(*writing), key=KEY, contract=CONTRACT) is None


def test_a_plan_of_more_than_32_kb_is_not_kept() -> None:
    body = {"host": "example.org", "body": "long " * (MAX_BYTES // 5)}
    long = [*chain()[:2], step("3", "http", input=body)]
    contract = make_contract(max_cost_usd=Decimal(9))

    assert plan_text(model_plan(*long), key=KEY, contract=contract) is None


def changed(**parts: Any) -> str:
    return json.dumps(json.loads(kept()) | parts)


def body_with(**parts: Any) -> str:
    return changed(body=json.loads(kept())["body"] | parts)


FOREIGN = {
    "empty": lambda: "",
    "no JSON": lambda: "PK\x03\x04",
    "no object": lambda: "[1, 2]",
    "null": lambda: "null",
    "another's": lambda: '{"plan": "x"}',
    "older version": lambda: changed(v=0),
    "newer version": lambda: changed(v=2),
    "no seal": lambda: changed(seal=None),
    "changed body": lambda: body_with(model="another"),
    "no body": lambda: changed(body=None),
    "nested": lambda: "[" * 50_000,
    "nested in reason": lambda: '{"v": 1, "body": %s}' % ("[" * 400 + "]" * 400),
    "not a number": lambda: changed(body=float("nan")),
    "half a letter": lambda: '{"v": 1, "seal": "\\ud800", "body": "\\ud800"}',
    "too long": lambda: kept() + " " * MAX_BYTES,
    "cut off": lambda: kept()[:-20],
}


@pytest.mark.parametrize("text", FOREIGN.values(), ids=list(FOREIGN))
def test_what_we_did_not_write_is_no_value(text: Any) -> None:
    assert read_plan(text(), key=KEY) is None
    assert read_failure(text(), kind="failed", key=KEY) is None


def test_a_value_moved_to_another_key_is_none() -> None:
    assert read_plan(kept(), key=KEY) is not None
    assert read_plan(kept(), key=OTHER_KEY) is None


def test_a_failure_is_kept_as_its_code_alone() -> None:
    error = ModelUnavailableError("secret words", retry_after_s=3)

    text = failure_text(error, kind="failed", key=KEY)

    assert text is not None
    assert json.loads(text)["body"] == "model_unavailable"
    assert "secret" not in text
    again = read_failure(text, kind="failed", key=KEY)
    assert type(again) is ModelUnavailableError
    assert again.is_transient
    assert read_failure(text, kind="recipe", key=KEY) is None
    assert read_plan(text, key=KEY) is None


@pytest.mark.parametrize("kind", [InvalidPlanError, ModelRefusedError])
def test_a_failure_comes_back_as_the_class_it_was(kind: type[OctoLLMError]) -> None:
    text = failure_text(kind("because"), kind="failed", key=KEY)

    assert text is not None
    assert type(read_failure(text, kind="failed", key=KEY)) is kind


@pytest.mark.parametrize(
    "own",
    [
        BudgetExceededError(limit="tokens"),
        CallCancelledError(),
        DeadlineExceededError(),
        UnpricedModelError(),
    ],
    ids=lambda error: error.code,
)
def test_a_callers_own_failure_is_not_kept(own: OctoLLMError) -> None:
    assert failure_text(own, kind="failed", key=KEY) is None
