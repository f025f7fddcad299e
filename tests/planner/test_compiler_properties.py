"""Whatever is proposed: a valid plan comes out, or a list of what is wrong with it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from octollm.errors import InvalidPlanError
from planner.compiler import compile_plan
from planner.draft import PlanDraft, draft_of
from planner.plan import (
    Plan,
    PlanningContract,
    from_json,
    references,
    resolve,
    step_of,
    to_json,
)
from planner.rules import MAX_STEPS
from tests.planner.cases import CATALOGUE, make_contract

IDS = st.sampled_from(["1", "2", "3", "4", "a b", "a.b", "plan", "judge", ""])
PATHS = st.sampled_from(
    [
        "goal",
        "context",
        "context.reviews",
        "context.reviews.0",
        "context.absent",
        "steps",
        "steps.1",
        "steps.1.texts",
        "steps.2.texts",
        "steps.2.keywords",
        "steps.a b.texts",
        "steps.a.b.texts",
        "steps.judge.sentiment_score",
    ]
)
REFERENCES = PATHS.map(lambda path: {"$from": path})
WRITTEN = st.one_of(
    PATHS, PATHS.map(lambda path: f"{{{{ {path} }}}}"), st.text(max_size=5)
)
VALUES: Any = st.recursive(
    st.one_of(
        REFERENCES,
        WRITTEN,
        st.integers(-2, 9),
        st.floats(allow_nan=False, allow_infinity=False),
        st.booleans(),
        st.none(),
        st.just({"$from": 5}),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["texts", "host", "url", "tool", "$from"]),
            inner,
            max_size=2,
        ),
    ),
    max_leaves=4,
)
ARMS = st.one_of(
    st.sampled_from(
        ["analyst", "retriever", "tool_executor", "planner", "judge", "Data-Analyst"]
    ),
    st.sampled_from(["sentiment", "analyst.keywords", "mood", "", "oracle"]),
    VALUES,
)
CAPABILITIES = st.one_of(
    st.sampled_from(["sentiment", "keywords", "fetch_documents", "http", "batch"]),
    st.sampled_from(["Sentiment", "mood", "analyst.sentiment", "planning", ""]),
    VALUES,
)
INPUTS = st.fixed_dictionaries(
    {},
    optional={
        "texts": st.one_of(REFERENCES, VALUES),
        "goal": st.one_of(REFERENCES, WRITTEN),
        "limit": VALUES,
        "host": VALUES,
        "items": VALUES,
    },
)
WILD = st.fixed_dictionaries(
    {"step_id": IDS, "arm": ARMS, "capability": CAPABILITIES},
    optional={
        "description": st.text(max_size=20),
        "depends_on": st.lists(IDS, max_size=3),
        "input": INPUTS,
        "criteria": st.lists(st.integers(-1, 3), max_size=3),
    },
)
# Steps that may well be right, so that valid plans are not rare.
SOUND: Any = st.one_of(
    st.fixed_dictionaries(
        {
            "step_id": IDS,
            "arm": st.just("retriever"),
            "capability": st.just("fetch_documents"),
            "input": st.just({"goal": {"$from": "goal"}}),
            "depends_on": st.lists(IDS, max_size=1),
        }
    ),
    st.fixed_dictionaries(
        {
            "step_id": IDS,
            "arm": st.sampled_from(["analyst", "data analyst", "sentiment"]),
            "capability": st.sampled_from(["sentiment", "Sentiment"]),
            "input": st.fixed_dictionaries({"texts": st.one_of(REFERENCES, PATHS)}),
            "description": st.text(max_size=600),
            "criteria": st.lists(st.integers(0, 1), max_size=2),
        }
    ),
)
DRAFTS: Any = st.fixed_dictionaries(
    {
        "steps": st.one_of(
            st.lists(SOUND, min_size=1, max_size=5, unique_by=lambda s: s["step_id"]),
            st.lists(st.one_of(SOUND, WILD), max_size=12),
        )
    },
    optional={"result": st.dictionaries(st.text(max_size=3), VALUES, max_size=2)},
)


def contract() -> PlanningContract:
    return make_contract(
        acceptance_criteria=("Sentiment score -1 to 1", "The tone is friendly"),
        constraints=("No PII", "At most 9 steps"),
    )


def compiled(draft: PlanDraft, *, source: Any = "caller") -> Plan:
    return compile_plan(draft, contract=contract(), catalogue=CATALOGUE, source=source)


def compiled_or_refused(proposal: Any) -> Plan | None:
    try:
        draft = PlanDraft.model_validate(proposal)
    except ValidationError:
        return None
    try:
        return compiled(draft)
    except InvalidPlanError as error:
        violations = error.violations
    assert violations
    assert all(re.match(r"P0\d\d: .*\S[.]$", each, re.DOTALL) for each in violations)
    return None


@settings(max_examples=400, deadline=None)
@given(DRAFTS)
def test_a_plan_that_passes_can_run(proposal: Any) -> None:
    plan = compiled_or_refused(proposal)

    if plan is None:
        return
    ids = [each.step_id for each in plan.steps]
    assert len(set(ids)) == len(ids) <= MAX_STEPS
    assert not {"plan", "judge"} & set(ids)
    specs = {spec.name: spec for spec in CATALOGUE}
    for place, each in enumerate(plan.steps):
        before = set(ids[:place])
        assert specs[each.arm].capability(each.capability) is not None
        assert before >= set(each.depends_on)
        assert set(each.depends_on) >= {step_of(p) for p in read_of(each.input)}
        assert set(each.criteria) <= {0, 1}
    assert set(ids) >= {step_of(path) for path in references(plan.result)}
    assert plan.result
    served = {index for each in plan.steps for index in each.criteria}
    assert served | {index for index, _ in plan.unserved} == {0, 1}


def read_of(value: Any) -> list[str]:
    return [path for path in references(value) if path.startswith("steps.")]


@settings(max_examples=400, deadline=None)
@given(DRAFTS)
def test_compiling_a_plan_again_changes_nothing(proposal: Any) -> None:
    plan = compiled_or_refused(proposal)

    if plan is not None:
        assert compiled(draft_of(plan)) == plan
        assert from_json(json.loads(json.dumps(to_json(plan)))) == plan


@settings(max_examples=200, deadline=None)
@given(st.lists(SOUND, min_size=1, max_size=5, unique_by=lambda s: s["step_id"]))
def test_references_into_the_request_resolve(steps: Any) -> None:
    plan = compiled_or_refused({"steps": steps})

    for each in plan.steps if plan is not None else ():
        request = {p for p in references(each.input) if not p.startswith("steps.")}
        for path in request:
            asked = contract()
            resolve({"$from": path}, goal=asked.goal, context=asked.context, outputs={})


def deep(levels: int) -> Any:
    value: Any = "x"
    for _ in range(levels):
        value = {"a": value}
    return value


def many_steps(**fields: Any) -> list[dict[str, Any]]:
    common = {"arm": "analyst", "capability": "sentiment", "input": {"texts": ["a"]}}
    return [{"step_id": f"{n}", **common, **fields} for n in range(100)]


def hostile() -> dict[str, Any]:
    return {
        "a hundred steps": {"steps": many_steps()},
        "all wait for all": {
            "steps": many_steps(depends_on=[str(n) for n in range(100)])
        },
        "one long id": {"steps": many_steps(step_id="x" * 200, criteria=[-1])},
        "long odd ids": {
            "steps": [
                {**each, "step_id": "é" * 190 + each["step_id"]}
                for each in many_steps()
            ]
        },
        "a long path": {
            "steps": many_steps(input={"texts": {"$from": "context" + ".a" * 900}})
        },
        "a path that looks written": {
            "steps": many_steps(input={"texts": "steps" + ".a" * 900})
        },
        "a whole context each": {
            "steps": many_steps(input={"texts": {"$from": "context.reviews"}})
        },
        "many unknown inputs": {
            "steps": many_steps(input={f"k{n}": n for n in range(100)})
        },
        "many references": {
            "steps": many_steps(
                input={"texts": [{"$from": f"steps.{n}.method"} for n in range(60)]}
            )
        },
        "many criteria": {"steps": many_steps(criteria=list(range(300)))},
        "a large literal": {"steps": many_steps(input={"texts": ["x" * 50] * 1_000})},
        "a deep result": {"steps": many_steps(), "result": {"a": deep(18)}},
        "many results": {
            "steps": many_steps(),
            "result": {f"r{n}": {"$from": "steps.1.method"} for n in range(4_000)},
        },
    }


@pytest.mark.timeout(20)
@pytest.mark.parametrize("name", hostile())
def test_hostile_proposals_are_refused_before_long(name: str) -> None:
    reviews = [{"text": "x", "n": n} for n in range(2_500)]
    asked = make_contract(
        context={"reviews": reviews}, constraints=("no the " * 40,) * 20
    )
    draft = PlanDraft.model_validate(hostile()[name])

    with pytest.raises(InvalidPlanError):
        compile_plan(draft, contract=asked, catalogue=CATALOGUE, source="caller")


@pytest.mark.parametrize("field", ["input", "arm", "result"])
def test_what_is_nested_too_deep_is_no_draft(field: str) -> None:
    step = {"step_id": "1", "arm": "a", "capability": "b"}
    nested: Any = {"x": deep(5_000)}
    proposal = (
        {"steps": [step], "result": nested}
        if field == "result"
        else {"steps": [{**step, field: nested}]}
    )

    with pytest.raises(ValidationError, match="nested deeper"):
        PlanDraft.model_validate(proposal)
