"""The recipes on the goals of the evaluation: what they answer and what they leave."""

from __future__ import annotations

import pytest

from tests.evaluation.catalogue import evaluation_catalogue
from tests.evaluation.goals import Goal, all_goals
from tests.evaluation.report import graph_of, report
from tests.evaluation.trial import Trial, try_goal

pytestmark = pytest.mark.django_db


def goals(*wanted: str) -> list[Goal]:
    return [goal for goal in all_goals() if goal.recipes in wanted]


def tried(goal: Goal) -> Trial:
    arms = evaluation_catalogue()
    return try_goal(goal, source="recipes", catalogue=arms, execute=True)


@pytest.mark.parametrize("goal", goals("plan"), ids=lambda goal: goal.id)
def test_recipes_answer_every_goal_of_theirs_with_a_plan_that_runs(goal: Goal) -> None:
    trial = tried(goal)

    assert trial.plan is not None, trial.error
    assert trial.execution == "done"
    shown = report([trial], "recipes")["total"]
    assert shown["arm_f1"] == 1.0, graph_of(trial.plan)
    assert shown["edge_f1"] in (1.0, None), graph_of(trial.plan)
    assert shown["within_budget"] == 1.0


@pytest.mark.parametrize("goal", goals("refuse"), ids=lambda goal: goal.id)
def test_recipes_leave_the_rest_to_a_model(goal: Goal) -> None:
    trial = tried(goal)

    assert report([trial], "recipes")["total"]["refused_rightly"] == 1.0, trial.error


@pytest.mark.parametrize(
    "goal", goals("missing_input", "invalid_plan"), ids=lambda goal: goal.id
)
def test_recipes_say_why_a_goal_cannot_be_planned(goal: Goal) -> None:
    assert tried(goal).error == goal.recipes


@pytest.mark.parametrize("goal", goals("may"), ids=lambda goal: goal.id)
def test_what_recipes_plan_of_the_rest_runs(goal: Goal) -> None:
    trial = tried(goal)

    assert trial.execution == "done" if trial.plan else trial.error
