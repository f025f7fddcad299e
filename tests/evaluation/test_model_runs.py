"""The scorer on a model whose answers are known, over a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from octollm.resilience import outbound
from tests import fakes
from tests.evaluation.catalogue import evaluation_catalogue
from tests.evaluation.goals import Goal, all_goals, goals_by_id
from tests.evaluation.report import failures, report, table
from tests.evaluation.trial import Trial, try_goal
from tests.fakes import FakeModel

pytestmark = pytest.mark.django_db

# A model must write three steps at least.
LONG_GOLD = [goal for goal in all_goals() if goal.gold and len(goal.gold[0]) >= 3]


@pytest.fixture
def model(settings: Any) -> Iterator[FakeModel]:
    with FakeModel() as fake:
        settings.OCTOLLM_LLM_BASE_URL = fake.base_url
        settings.OCTOLLM_LLM_MODEL = "fake-model"
        settings.OCTOLLM_LLM_PRICE_INPUT = Decimal(10)
        settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal(40)
        yield fake
        outbound.shutdown()


def answer(goal: Goal, **instead: str) -> str:
    """Return the goal's gold as a model writes it, some capabilities replaced by id."""
    steps = []
    for step in goal.gold[0]:
        arm, _, capability = step.do.partition(".")
        inputs = [
            *({"name": k, "from": v, "value": ""} for k, v in step.sources.items()),
            *(
                {"name": k, "from": "", "value": json.dumps(v)}
                for k, v in step.values.items()
            ),
        ]
        steps.append(
            {
                "step_id": step.id,
                "description": f"Do {step.do}.",
                "arm": arm,
                "capability": instead.get(f"step_{step.id}", capability),
                "depends_on": list(step.depends_on),
                "inputs": inputs,
                "criteria": list(range(len(goal.criteria))),
            }
        )
    return json.dumps({"steps": steps})


def tried(goal: Goal, *, execute: bool = False) -> Trial:
    arms = evaluation_catalogue()
    return try_goal(goal, source="model", catalogue=arms, execute=execute)


def test_gold_answers_score_one_everywhere(model: FakeModel) -> None:
    trials = []
    for goal in LONG_GOLD:
        model.will(fakes.completion(answer(goal)))
        trials.append(tried(goal, execute=True))

    shown = report(trials, "model")
    total = shown["total"]
    assert failures(shown) == []
    assert total["trials"] == len(LONG_GOLD) >= 12
    for name in (
        *("schema_valid_first_try", "readable_after_repair", "executable_first_try"),
        *("executable", "executed", "within_budget", "criteria_covered"),
        *("arm_f1", "edge_f1"),
    ):
        assert total[name] == 1.0, name
    assert total["refused_rightly"] is None
    assert total["open_charges"] == 0


def test_a_half_right_answer_scores_what_it_is_worth(model: FakeModel) -> None:
    goal = goals_by_id()["battery-comments"]
    half = answer(goal, step_3="readability", step_4="keywords")
    half = half.replace('"sentences"', '"limit"')
    model.will(fakes.completion(half))

    total = report([tried(goal)], "model")["total"]

    # Two of four steps, and one of the three edges.
    assert total["arm_f1"] == pytest.approx(0.5)
    assert total["edge_f1"] == pytest.approx(1 / 3)
    assert total["executable"] == 1.0


def test_a_fenced_answer_is_readable_and_not_schema_valid(model: FakeModel) -> None:
    goal = LONG_GOLD[0]
    model.will(fakes.completion(f"Here you are:\n```json\n{answer(goal)}\n```"))

    total = report([tried(goal)], "model")["total"]

    assert total["schema_valid_first_try"] == 0.0
    assert total["readable_after_repair"] == 1.0
    assert total["executable_first_try"] == 1.0
    assert total["executable"] == 1.0


def test_a_corrected_answer_counts_as_executable_but_not_at_the_first_try(
    model: FakeModel,
) -> None:
    goal = LONG_GOLD[0]
    model.will(
        fakes.completion(answer(goal, step_2="conjure")),
        fakes.completion(answer(goal)),
    )

    total = report([tried(goal)], "model")["total"]

    assert total["schema_valid_first_try"] == 0.0
    assert total["readable_after_repair"] == 1.0
    assert total["executable_first_try"] == 0.0
    assert total["executable"] == 1.0
    assert total["model_calls"] == 2


def test_no_plan_misses_everything_that_was_to_be_found(model: FakeModel) -> None:
    goal = goals_by_id()["battery-comments"]
    model.default = fakes.completion("I would rather not.")

    trial = tried(goal)

    shown = report([trial], "model")
    assert trial.error == "invalid_plan"
    assert shown["total"]["executable"] == 0.0
    assert shown["total"]["within_budget"] == 0.0
    assert shown["total"]["criteria_covered"] == 0.0
    assert shown["total"]["arm_f1"] == 0.0
    assert failures(shown) == ["battery-comments (multi_step): invalid_plan; "]


def test_a_model_that_plans_the_impossible_is_marked_down(model: FakeModel) -> None:
    goal = goals_by_id()["no-reviews"]
    other = goals_by_id()["section-readability"]
    invented = answer(other).replace("context.manual", "goal")
    model.will(fakes.completion(invented))
    planned = tried(goal)
    model.default = fakes.completion("There is nothing to work on.")
    refused = tried(goal)

    assert planned.plan is not None
    total = report([planned, refused], "model")["total"]
    assert total["refused_rightly"] == 0.5
    assert total["executable"] is None


def test_planning_is_priced_by_the_usage(model: FakeModel) -> None:
    goal = LONG_GOLD[0]
    model.will(fakes.completion(answer(goal)))

    total = report([tried(goal)], "model")["total"]

    # 100 tokens in at 10, 50 out at 40 USD per million.
    assert Decimal(total["cost_usd"]) == Decimal("0.003")
    assert total["tokens"] == 150


def test_what_planning_used_counts_against_the_budget(model: FakeModel) -> None:
    goal = LONG_GOLD[0]
    usage = {"prompt_tokens": 9_990, "completion_tokens": 50, "total_tokens": 10_040}
    model.will(fakes.completion(answer(goal), usage=usage))

    assert report([tried(goal)], "model")["total"]["within_budget"] == 0.0


def test_the_table_has_a_line_per_figure_and_a_column_per_kind(
    model: FakeModel,
) -> None:
    goal = goals_by_id()["battery-comments"]
    model.will(fakes.completion(answer(goal)))
    shown = report([tried(goal)], "model")

    lines = table(shown).splitlines()

    assert lines[0].split() == ["multi_step", "total"]
    assert "arm_f1                               1.000             1.000" in lines
    json.dumps(shown)
