"""A model's plan serves equal requests; failures are told for a moment."""

from __future__ import annotations

import dataclasses
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from octollm.errors import (
    BudgetExceededError,
    CallCancelledError,
    InvalidPlanError,
    ModelAnswerError,
    ModelError,
    ModelRefusedError,
    ModelUnavailableError,
)
from octollm.resilience import redis_client
from planner.planning import make_plan
from tests import fakes
from tests.fakes import FakeModel
from tests.ledgers import MemoryMeter, make_services
from tests.planner.cache_cases import (
    GOOD_STEPS,
    OPEN_GOAL,
    RECIPE_GOAL,
    Outcomes,
    keys_of,
    model_step,
    plan_text,
    planned,
)
from tests.planner.cases import REVIEWS, make_contract

pytestmark = pytest.mark.django_db


def test_an_equal_request_is_served_without_the_model(cached_model: FakeModel) -> None:
    outcomes, meter = Outcomes(), MemoryMeter()
    first = planned()

    again = planned(meter, goal=f"  {OPEN_GOAL.replace(' ', '  ')} ", task_id=uuid4())

    assert len(cached_model.requests) == 1
    assert meter.calls == []
    assert again == dataclasses.replace(first, source="cache")
    assert again.model == "fake-model"
    assert outcomes.new() == {"miss": 1, "hit": 1}


def test_what_was_mended_is_said_once_at_each_hit(cached_model: FakeModel) -> None:
    steps = [step | {"arm": "Analyst"} for step in GOOD_STEPS]
    cached_model.default = fakes.completion(plan_text(*steps))
    first = planned()

    hits = [planned(), planned()]

    assert len(first.repairs) == 3
    assert [hit.repairs for hit in hits] == [first.repairs] * 2


@pytest.mark.parametrize(
    "other",
    [
        {"goal": f"{OPEN_GOAL}!"},
        {"constraints": ("Be brief",)},
        {"acceptance_criteria": ("No PII",)},
        {"context": {"reviews": ["Another."]}},
        {"max_cost_usd": Decimal("0.5")},
        {"max_time_s": 60.0},
        {"max_tokens": 9_000},
        {"assigned_arm": "analyst"},
        {"knowledge_scope": uuid4()},
    ],
    ids=lambda other: next(iter(other)),
)
def test_a_request_that_differs_is_planned_anew(
    cached_model: FakeModel, other: dict[str, Any]
) -> None:
    planned()

    assert planned(**other).source == "model"
    assert len(cached_model.requests) == 2


def test_an_owner_is_not_served_from_the_plans_of_another(
    cached_model: FakeModel,
) -> None:
    owner, other = uuid4(), uuid4()

    plans = [planned(knowledge_scope=scope) for scope in (owner, other, owner)]

    assert [plan.source for plan in plans] == ["model", "model", "cache"]


def test_a_plan_lives_a_day_give_or_take_a_tenth(cached_model: FakeModel) -> None:
    lives: list[tuple[str, int]] = []
    for number in range(5):
        planned(goal=f"{OPEN_GOAL} {number}")
        (name,) = [each for each in keys_of("plan") if each not in dict(lives)]
        lives.append((name, redis_client.client().ttl(name)))

    assert all(0.9 * 3600 - 5 <= life <= 1.1 * 3600 for _, life in lives)
    assert len({life for _, life in lives}) > 1


def test_a_cache_that_is_off_keeps_and_finds_nothing(
    cached_model: FakeModel, settings: Any
) -> None:
    planned()
    settings.OCTOLLM_PLAN_CACHE_TTL_S = 0.0

    assert planned().source == "model"
    assert len(cached_model.requests) == 2


def test_without_a_model_recipes_plan_and_nothing_is_kept(
    cached_model: FakeModel, settings: Any
) -> None:
    settings.OCTOLLM_LLM_MODEL = ""

    assert planned(goal=RECIPE_GOAL).source == "recipe"
    assert keys_of("*") == []


# Hits are compiled again ----------------------------------------------------------
def test_a_plan_that_no_longer_compiles_is_dropped_and_made_anew(
    cached_model: FakeModel,
) -> None:
    outcomes = Outcomes()
    # So deep inside the model is shown types, and keys no more.
    path = "context.a.b.c.d"
    deep = [{"name": "texts", "from": f"{path}.texts", "value": ""}]
    contexts = [
        {"reviews": REVIEWS, "a": {"b": {"c": {"d": {key: REVIEWS}}}}}
        for key in ("texts", "others")
    ]
    reaching = [*GOOD_STEPS[:2], model_step("3", "summarise", inputs=deep)]
    cached_model.will(fakes.completion(plan_text(*reaching)))
    planned(context=contexts[0])

    plans = [planned(context=contexts[1]) for _ in range(2)]

    assert [plan.source for plan in plans] == ["model", "cache"]
    assert outcomes.new() == {"miss": 2, "stale": 1, "hit": 1}


def test_an_arm_that_was_forbidden_meanwhile_is_not_used_from_the_cache(
    cached_model: FakeModel, settings: Any
) -> None:
    planned()
    settings.OCTOLLM_PLAN_POLICY = '{"arms": ["retriever"]}'

    with pytest.raises(InvalidPlanError):
        planned()

    assert len(cached_model.requests) == 3


# Nothing of the context is kept ---------------------------------------------------
def quoting_steps() -> list[Any]:
    return [*GOOD_STEPS[:2], model_step("3", "summarise", description=REVIEWS[1])]


def test_a_plan_that_quotes_the_context_is_used_and_not_kept(
    cached_model: FakeModel,
) -> None:
    outcomes = Outcomes()
    cached_model.default = fakes.completion(plan_text(*quoting_steps()))

    plans = [planned(), planned()]

    assert [plan.source for plan in plans] == ["model", "model"]
    assert keys_of("*") == []
    assert outcomes.new() == {"miss": 2, "uncacheable": 2}


def test_what_is_kept_holds_no_text_of_the_request(cached_model: FakeModel) -> None:
    planned(constraints=("Say it in verse",))

    (name,) = keys_of("plan")
    kept = [name, redis_client.client().get(name)]
    for text in (OPEN_GOAL, "verse", *REVIEWS):
        assert text not in repr(kept)


# What is foreign ------------------------------------------------------------------
FOREIGN: dict[str, Any] = {
    "no JSON": "hello",
    "bytes": b"\xff\xfe\x00",
    "nested": "[" * 60_000,
    "another version": '{"v": 0, "seal": "", "body": {}}',
}


@pytest.mark.parametrize("kind", ["plan", "failed", "recipe"])
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=list(FOREIGN))
def test_what_somebody_else_put_there_is_passed_over(
    cached_model: FakeModel, foreign: Any, kind: str
) -> None:
    planned()
    (name,) = keys_of("plan")
    redis_client.client().delete(name)
    redis_client.client().set(name.replace(":plan:{", f":{kind}:{{"), foreign)

    assert planned().source == "model"
    assert planned().source == "cache"


@pytest.mark.parametrize("kind", ["plan", "failed", "recipe", "claim"])
def test_a_value_of_another_type_is_passed_over(
    cached_model: FakeModel, kind: str
) -> None:
    planned()
    (name,) = keys_of("plan")
    redis_client.client().delete(name)
    redis_client.client().rpush(name.replace(":plan:{", f":{kind}:{{"), "x")

    assert planned().source == "model"
    assert planned().source == "cache"
    # What blocked the way is gone; it would have been waited for.
    assert keys_of("claim") == []


def test_a_plan_moved_to_another_key_serves_nobody(cached_model: FakeModel) -> None:
    planned()
    (name,) = keys_of("plan")
    planned(goal=f"{OPEN_GOAL} soon")
    (other,) = [each for each in keys_of("plan") if each != name]
    redis_client.client().copy(name, other, replace=True)

    assert planned(goal=f"{OPEN_GOAL} soon").source == "model"


# Failures -------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (fakes.error(503), ModelUnavailableError),
        (fakes.html(), ModelAnswerError),
        (fakes.completion("no plan"), InvalidPlanError),
        (fakes.completion("", refusal="No."), ModelRefusedError),
    ],
    ids=["unavailable", "unusable", "invalid", "refused"],
)
def test_a_failure_is_told_for_a_moment_without_asking_again(
    cached_model: FakeModel, answer: Any, error: type[ModelError]
) -> None:
    outcomes = Outcomes()
    cached_model.default = answer
    with pytest.raises(error):
        planned()
    asked = len(cached_model.requests)

    with pytest.raises(error) as told:
        planned()

    assert type(told.value) is error
    assert len(cached_model.requests) == asked
    assert outcomes.new() == {"miss": 1, "negative": 1}
    (name,) = keys_of("failed")
    assert 0 < redis_client.client().pttl(name) <= 5_000


def test_a_model_that_recovers_is_asked_when_the_moment_is_over(
    cached_model: FakeModel,
) -> None:
    cached_model.will(fakes.completion("no plan"), fakes.completion("no plan"))
    with pytest.raises(InvalidPlanError):
        planned()
    (name,) = keys_of("failed")
    redis_client.client().delete(name)

    assert planned().source == "model"


def test_a_callers_own_failure_is_nobody_elses(cached_model: FakeModel) -> None:
    with pytest.raises(BudgetExceededError):
        planned(MemoryMeter(max_tokens=100))

    assert keys_of("*") == []
    assert planned().source == "model"


def test_recipes_serve_for_a_minute_when_the_model_failed(
    cached_model: FakeModel,
) -> None:
    cached_model.default = fakes.completion("no plan")
    first = planned(goal=RECIPE_GOAL)
    (name,) = keys_of("failed")
    redis_client.client().delete(name)
    asked = len(cached_model.requests)

    again = planned(goal=RECIPE_GOAL)

    assert (first.source, again.source) == ("recipe", "recipe")
    assert again == first
    assert len(cached_model.requests) == asked
    (note,) = keys_of("recipe")
    assert 0 < redis_client.client().ttl(note) <= 60


def test_an_outage_does_not_stick(cached_model: FakeModel) -> None:
    cached_model.will(fakes.completion("no plan"), fakes.completion("no plan"))
    planned(goal=RECIPE_GOAL)
    for name in keys_of("failed") + keys_of("recipe"):
        redis_client.client().delete(name)

    assert planned(goal=RECIPE_GOAL).source == "model"


def test_a_recipe_that_fits_no_more_gives_way_to_the_model(
    cached_model: FakeModel,
) -> None:
    cached_model.will(fakes.completion("no plan"), fakes.completion("no plan"))
    # The model is shown the first two alone.
    hidden = [{"text": "Good."}, {"price": 3}]
    contexts = [{"reviews": [{"n": 1}, {"n": 2}, each]} for each in hidden]
    first = planned(goal=RECIPE_GOAL, context=contexts[0])
    redis_client.client().delete(*keys_of("failed"))

    second = planned(goal=RECIPE_GOAL, context=contexts[1])

    assert (first.source, second.source) == ("recipe", "model")


def test_a_cancelled_caller_is_not_served(cached_model: FakeModel) -> None:
    planned()
    services = make_services()
    services.stop.cancel()

    with pytest.raises(CallCancelledError):
        make_plan(make_contract(goal=OPEN_GOAL), services)


def test_nothing_is_claimed_when_planning_is_over(cached_model: FakeModel) -> None:
    planned()
    with pytest.raises(BudgetExceededError):
        planned(MemoryMeter(max_tokens=100), goal=f"{OPEN_GOAL} soon")

    assert keys_of("claim") == []
