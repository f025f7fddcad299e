"""The goals themselves: their shape, their number, and that their gold is right."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from uuid import uuid4

import pytest

from arms.knowledge import documents
from arms.registry import catalogue as running_arms
from planner.compiler import compile_plan
from planner.plan import Plan
from tests.evaluation.catalogue import evaluation_catalogue
from tests.evaluation.goals import KINDS, Goal, all_goals, gold_draft
from tests.evaluation.report import graph_of, graph_of_gold
from tests.leaks import leaks_in
from tests.ledgers import make_services
from tests.planner.running import run_plan

ROOT = Path(__file__).parents[2]
WITH_GOLD = [goal for goal in all_goals() if goal.gold]


def compiled(goal: Goal) -> Plan:
    return compile_plan(
        gold_draft(goal),
        contract=goal.contract(),
        catalogue=evaluation_catalogue(),
        source="caller",
    )


def test_there_are_enough_goals_of_every_kind() -> None:
    counts = Counter(goal.kind for goal in all_goals())

    assert counts.total() >= 80
    assert counts["recipe"] >= 30
    assert counts["open_ended"] >= 15
    assert all(counts[kind] >= 4 for kind in KINDS)


def test_no_goal_is_there_twice() -> None:
    goals = all_goals()

    assert len({goal.id for goal in goals}) == len(goals)
    assert len({(goal.goal, str(goal.context)) for goal in goals}) == len(goals)


def test_goals_speak_in_words_of_their_own() -> None:
    """What recipes and their tests are written by must not be what they are judged by."""
    seen = [
        *(ROOT / "planner").rglob("*.toml"),
        *(ROOT / "tests/planner").glob("*.toml"),
        *(ROOT / "tests/planner").glob("*.py"),
    ]
    texts = "\n".join(path.read_text().lower() for path in seen)

    planned = [goal for goal in all_goals() if goal.kind == "recipe"]
    assert [goal.id for goal in planned if goal.goal.lower() in texts] == []


def test_every_goal_that_arms_can_meet_has_gold() -> None:
    lacking = {
        goal.id
        for goal in all_goals()
        if not goal.gold and goal.kind in ("recipe", "multi_step", "not_runnable_yet")
    }

    assert lacking == set()


@pytest.mark.parametrize("goal", all_goals(), ids=lambda goal: goal.id)
def test_goals_hold_nothing_that_must_not_reach_a_model(goal: Goal) -> None:
    assert leaks_in(goal.model_dump_json()) == []


@pytest.mark.parametrize("goal", WITH_GOLD, ids=lambda goal: goal.id)
def test_gold_compiles_as_it_stands(goal: Goal) -> None:
    plan = compiled(goal)

    assert graph_of(plan) == graph_of_gold(goal.gold[0])
    assert plan.repairs == ()


@pytest.mark.parametrize("goal", WITH_GOLD, ids=lambda goal: goal.id)
def test_every_alternative_names_what_there_is(goal: Goal) -> None:
    offered = {
        f"{spec.name}.{each.name}"
        for spec in evaluation_catalogue()
        for each in spec.capabilities
    }

    for steps in goal.gold:
        assert {step.do for step in steps} <= offered
        ids = [step.id for step in steps]
        assert all(set(step.depends_on) <= set(ids) for step in steps)


@pytest.mark.django_db
@pytest.mark.parametrize(
    "goal",
    [goal for goal in WITH_GOLD if goal.kind != "not_runnable_yet"],
    ids=lambda goal: goal.id,
)
def test_gold_of_arms_that_run_really_runs(goal: Goal) -> None:
    scope = uuid4()
    for each in goal.documents:
        documents.ingest(
            scope, collection=each.collection, title=each.title, text=each.text
        )
    plan = compiled(goal)

    result = run_plan(
        plan, goal.contract(scope=scope), make_services(knowledge_scope=scope)
    )

    assert {step.arm for step in plan.steps} <= {spec.name for spec in running_arms()}
    assert set(result) == set(plan.result)
