"""An owner's earlier plans: when one is made again, and what a model is shown."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from arms.registry import catalogue
from octollm.errors import NeedsModelError
from octollm.types import JSONObject
from planner import memory
from planner.alike import exact_form, nearness
from planner.memory import RememberedPlan
from planner.neighbours import MAX_EXAMPLES, MAX_EXAMPLES_LENGTH, examples_for
from planner.plan import Plan
from planner.recall import NOTE
from planner.recipe_planning import plan_by_recipe
from tests.planner import calibrate
from tests.planner.cases import make_contract

OWNER = UUID(int=7)
GOAL = "Prepare the product reviews for the board meeting"
_plans: list[RememberedPlan] = []


def plans_of(owner: UUID) -> list[RememberedPlan]:
    """What the tests register: the one owner's plans, nobody else's."""
    return list(_plans) if owner == OWNER else []


def failing(owner: UUID) -> list[RememberedPlan]:
    raise RuntimeError("the database is away")


@pytest.fixture(autouse=True)
def _remembering() -> Iterator[None]:
    registered = list(memory._sources)
    memory.register("tests.planner.test_memory.plans_of")
    _plans.clear()
    yield
    memory._sources[:] = registered


def a_plan(*, given: JSONObject | None = None, description: str = "Score.") -> Any:
    steps: list[Any] = [
        {
            "step_id": str(number),
            "description": description,
            "arm": "analyst",
            "capability": capability,
            "depends_on": [],
            "input": {"texts": {"$from": "context.reviews"}, **more},
            "criteria": [3],
        }
        for number, capability, more in (
            (1, "sentiment", {}),
            (2, "keywords", given or {}),
            (3, "summarise", {}),
        )
    ]
    result = {"score": {"$from": "steps.1.sentiment_score"}}
    return {"source": "model", "model": "m", "steps": steps, "result": result}


def remember(goal: str = GOAL, **plan: Any) -> None:
    _plans.append(
        RememberedPlan(goal=goal, plan=a_plan(**plan), context_keys=("reviews",))
    )


def planned(goal: str = GOAL, **contract: Any) -> Plan:
    fields = {"knowledge_scope": OWNER} | contract
    return plan_by_recipe(make_contract(goal=goal, **fields), catalogue())


pytestmark = pytest.mark.django_db


def test_an_earlier_plan_for_the_same_goal_is_made_again() -> None:
    remember()

    plan = planned(
        "Please prepare our product reviews for the board meeting!",
        acceptance_criteria=("Sentiment score from -1 to 1",),
    )

    assert plan.source == "memory"
    assert NOTE in plan.repairs
    assert [step.capability for step in plan.steps] == [
        "sentiment",
        "keywords",
        "summarise",
    ]
    assert plan.steps[0].criteria == (0,)
    assert set(plan.result) == {"score"}


@pytest.mark.parametrize(
    "goal",
    [
        "Do not prepare the product reviews for the board meeting",
        "Prepare the product reviews for the board meeting and delete them",
        "Prepare 3 product reviews for the board meeting",
        "Prepare the product reviews before the board meeting",
    ],
)
def test_a_goal_that_wants_something_else_needs_a_model(goal: str) -> None:
    remember()

    with pytest.raises(NeedsModelError, match="1 of your earlier goals"):
        planned(goal)


def test_a_fitting_recipe_comes_before_the_memory() -> None:
    remember("Analyze sentiment of product reviews")

    assert planned("Analyze sentiment of product reviews").source == "recipe"


def test_another_owners_plans_are_not_there() -> None:
    remember()

    with pytest.raises(NeedsModelError) as caught:
        planned(knowledge_scope=UUID(int=8))

    assert "earlier goals" not in caught.value.message


def test_earlier_goals_are_counted_and_not_named() -> None:
    remember("Prepare the secret reviews for the board meeting")

    with pytest.raises(NeedsModelError) as caught:
        planned()

    assert "1 of your earlier goals" in caught.value.message
    assert "secret" not in caught.value.message


def test_a_plan_whose_references_lead_nowhere_now_is_passed_over() -> None:
    remember()

    with pytest.raises(NeedsModelError):
        planned(context={"letters": ["Dear all"]})


@pytest.mark.parametrize(
    ("goal", "given"),
    [
        (GOAL, {"limit": 37}),
        (GOAL, {"texts": ["written out in the plan"]}),
        (GOAL + " of [EMAIL_1]", {}),
        (GOAL, {"texts": "[EMAIL_1]"}),
    ],
    ids=["number", "text", "placeholder in the goal", "placeholder in the plan"],
)
def test_a_plan_that_holds_values_of_its_task_is_not_made_again(
    goal: str, given: JSONObject
) -> None:
    remember(goal, given=given)

    with pytest.raises(NeedsModelError):
        planned(goal)


def test_a_value_that_the_goal_itself_names_may_stand_in_a_plan() -> None:
    goal = "Prepare the eight best reviews for the board meeting"
    remember(goal, given={"limit": 8})

    assert planned(goal).source == "memory"


def test_a_stored_plan_of_another_form_is_passed_over() -> None:
    _plans.append(RememberedPlan(goal=GOAL, plan={"steps": "none"}))
    remember()

    assert planned().source == "memory"


def test_planning_goes_on_when_the_memory_cannot_be_read() -> None:
    memory.register("tests.planner.test_memory.failing")

    with pytest.raises(NeedsModelError):
        planned()


@pytest.mark.parametrize("group", calibrate.goals("calibration")["pairs"])
def test_only_goals_that_want_the_same_have_the_same_form(group: Any) -> None:
    found = {
        (one, other): exact_form(one) == exact_form(other)
        for one, other in group["goals"]
    }

    assert found == dict.fromkeys(found, group["same"])


def test_nearness_is_whole_for_the_same_words_and_nothing_for_others() -> None:
    same, half, other = nearness(GOAL, [GOAL.upper(), "Prepare the board", "Buy a car"])

    assert same == 1.0
    assert 0 < half < 1
    assert other == 0.0


def test_a_model_is_shown_the_nearest_plan_and_recipe() -> None:
    remember()
    contract = make_contract(goal=GOAL + " by sentiment", knowledge_scope=OWNER)

    found = [json.loads(each) for each in examples_for(contract, catalogue())]

    assert found[0]["goal"] == GOAL
    first = found[0]["answer"]["steps"][0]
    assert first["inputs"] == [
        {"name": "texts", "from": "context.reviews", "value": ""}
    ]
    assert first["criteria"] == []
    assert len(found) <= MAX_EXAMPLES


def test_a_recipe_is_shown_in_the_form_of_the_answer() -> None:
    contract = make_contract(goal="Search the documents for the warranty")

    found, *_ = examples_for(contract, catalogue())

    step = json.loads(found)["answer"]["steps"][0]
    assert (step["arm"], step["capability"]) == ("retriever", "search")
    assert step["inputs"] == [{"name": "query", "from": "goal", "value": ""}]


def test_a_model_is_shown_nothing_when_nothing_is_near() -> None:
    remember()
    contract = make_contract(goal="Compose an opera", knowledge_scope=OWNER)

    assert examples_for(contract, catalogue()) == ()


def test_examples_are_short_and_use_only_what_is_offered() -> None:
    long = f"{GOAL}, {' '.join(['please'] * MAX_EXAMPLES_LENGTH)}"
    remember(long)
    contract = make_contract(goal=GOAL, knowledge_scope=OWNER)
    none_offered = examples_for(contract, ())

    found = examples_for(contract, catalogue())

    assert none_offered == ()
    assert sum(map(len, found)) <= MAX_EXAMPLES_LENGTH
    assert not any(GOAL in each for each in found)


def test_examples_hold_nothing_of_another_tasks_context() -> None:
    remember(given={"limit": 37})
    remember(description="Score what Ms Brown wrote.")
    contract = make_contract(goal=GOAL + " by sentiment", knowledge_scope=OWNER)

    found = "".join(examples_for(contract, catalogue()))

    assert GOAL in found
    assert "37" not in found
    assert "Brown" not in found
