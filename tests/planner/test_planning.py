"""What bounds planning as a whole: arms that are away, and constraints on the planner."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from arms import registration, registry
from arms.registry_models import ArmInstance
from octollm.errors import InvalidPlanError, NeedsModelError
from planner.plan import Plan
from planner.planning import make_plan
from tests import fakes
from tests.fakes import FakeModel
from tests.ledgers import make_services
from tests.models import model_in_settings
from tests.planner.cache_cases import GOOD
from tests.planner.cases import make_contract

RECIPE_GOAL = "Analyze sentiment of product reviews"
OPEN_GOAL = "Prepare the product reviews for the board meeting"


@pytest.fixture
def model(settings: Any, db: None) -> Iterator[FakeModel]:
    with model_in_settings(settings) as fake:
        fake.default = fakes.completion(GOOD)
        yield fake


@pytest.fixture
def the_analyst_is_away(db: None) -> Iterator[None]:
    registration.write_local(registry.local_catalogue())
    ArmInstance.objects.filter(arm_id="analyst").update(
        state=ArmInstance.State.DOWN,
        detail="no lexicon",
        checked_at=datetime.now(UTC),
        since=datetime.now(UTC) - timedelta(minutes=5),
    )
    registry.forget()
    yield
    registry.forget()


def planned(goal: str, **contract: Any) -> Plan:
    return make_plan(make_contract(goal=goal, **contract), make_services())


def test_a_model_is_not_offered_an_arm_that_is_away_and_hears_why(
    model: FakeModel, the_analyst_is_away: None
) -> None:
    with pytest.raises(InvalidPlanError, match="P021"):
        planned(OPEN_GOAL)

    first, second = (request.body["messages"] for request in model.requests)
    assert "analyst." not in first[1]["content"].partition("<request>")[0]
    assert "analyst” is away now (no lexicon)" in second[-1]["content"]


@pytest.mark.usefixtures("the_analyst_is_away")
def test_a_recipe_of_an_arm_that_is_away_is_refused() -> None:
    with pytest.raises(InvalidPlanError, match=r"P021: .* is away now"):
        planned(RECIPE_GOAL)


def test_a_request_that_forbids_models_is_planned_by_a_recipe(model: FakeModel) -> None:
    plan = planned(RECIPE_GOAL, constraints=("Without an AI model",))

    assert plan.source == "recipe"
    assert "No model was asked" in plan.repairs[0]
    assert model.requests == []


def test_a_request_that_forbids_models_and_needs_one_says_so(model: FakeModel) -> None:
    with pytest.raises(NeedsModelError):
        planned(OPEN_GOAL, constraints=("No LLM",))

    assert model.requests == []
