"""Reading a model's text: what is passed over, and what is refused."""

from __future__ import annotations

import json

import pytest

from octollm.errors import InvalidPlanError
from planner.parsing import MAX_TEXT, parse_draft

STEP = {
    "step_id": 1,
    "description": "Score.",
    "arm": "analyst",
    "capability": "sentiment",
    "depends_on": None,
    "inputs": [
        {"name": "texts", "from": "context.reviews", "value": ""},
        {"name": "limit", "from": "", "value": "5"},
        {"name": "word", "from": "", "value": "plain"},
    ],
    "criteria": [0],
    "estimated_cost": 99,
}
PLAN = json.dumps({"steps": [STEP]})
READABLE = {
    "plain": PLAN,
    "fenced": f"Here is the plan:\n```json\n{PLAN}\n```\nEnjoy!",
    "fenced without a language": f"```\n{PLAN}\n```",
    "prose around": f"Sure! {PLAN} I hope this helps.",
    "commented": PLAN.replace('"arm"', '// who does it\n"arm"'),
    "trailing comma": PLAN[:-2] + ",]}",
    "single quotes": PLAN.replace('"', "'").replace("None", "null"),
    "a bare list": json.dumps([STEP]),
    "wrapped": json.dumps({"plan": {"steps": [STEP]}}),
}
UNREADABLE = {
    "prose": "I cannot make a plan.",
    "empty object": "{}",
    "a number": "5",
    "steps of text": '{"steps": ["do it"]}',
    "no arm": '{"steps": [{"step_id": "1"}]}',
    "too many steps": json.dumps({"steps": [STEP] * 101}),
    "deep": "[" * 50_000,
    "deep in an object": '{"steps": ' + "[" * 50_000,
    "deep input": json.dumps(
        {"steps": [STEP | {"input": {"x": json.loads("[" * 30 + "]" * 30)}}]}
    ),
    "not finite": json.dumps({"steps": [STEP | {"input": {"x": float("nan")}}]}),
    "not finite in a text": PLAN.replace('"5"', '"[Infinity]"'),
    "NUL": PLAN.replace("Score.", r"\u0000"),
    "NUL in a text": PLAN.replace("plain", r"\"\\u0000\""),
    "half a pair": PLAN.replace("Score.", r"\ud800"),
    "too long": "x" * (MAX_TEXT + 1),
    "too long to repair": "{'" * (MAX_TEXT // 2),
    "a fence without end": "```" + "\n" * (MAX_TEXT - 3),
}


@pytest.mark.parametrize("text", READABLE.values(), ids=READABLE.keys())
def test_a_plan_is_read_whatever_stands_around_it(text: str) -> None:
    draft = parse_draft(text)

    assert draft.steps[0].step_id == "1"
    assert draft.steps[0].depends_on == []
    assert draft.steps[0].input == {
        "texts": {"$from": "context.reviews"},
        "limit": 5,
        "word": "plain",
    }


@pytest.mark.parametrize("text", UNREADABLE.values(), ids=UNREADABLE.keys())
def test_what_is_no_plan_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(InvalidPlanError) as caught:
        parse_draft(text)

    assert all(each.startswith("P000: ") for each in caught.value.violations)


def test_an_input_object_is_read_as_well() -> None:
    step = {**STEP, "input": {"texts": {"$from": "context.reviews"}}}
    del step["inputs"]

    draft = parse_draft(json.dumps({"steps": [step]}))

    assert draft.steps[0].input == {"texts": {"$from": "context.reviews"}}
