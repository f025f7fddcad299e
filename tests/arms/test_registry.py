"""Which arms are away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from arms import registration, registry
from arms.registry_models import ArmInstance

State = ArmInstance.State


@pytest.fixture(autouse=True)
def _nothing_known_before() -> Iterator[None]:
    registry.forget()
    yield
    registry.forget()


def place(
    state: str,
    *,
    location: str = "in-process",
    age_s: float = 0.0,
    since_s: float = 300.0,
) -> None:
    registration.write_local(registry.local_catalogue())
    ArmInstance.objects.update_or_create(
        arm_id="analyst",
        location=location,
        defaults={
            "state": state,
            "detail": "no lexicon",
            "checked_at": datetime.now(UTC) - timedelta(seconds=age_s),
            "since": datetime.now(UTC) - timedelta(seconds=since_s),
        },
    )


@pytest.mark.django_db
def test_an_arm_that_is_down_is_away_with_its_reason() -> None:
    place(State.DOWN)

    assert registry.away() == {"analyst": "no lexicon"}


@pytest.mark.django_db
def test_arms_of_which_nothing_is_known_are_not_away() -> None:
    registration.write_local(registry.local_catalogue())

    assert registry.away() == {}


@pytest.mark.django_db
@pytest.mark.parametrize("state", [State.HEALTHY, State.STARTING])
def test_an_arm_that_is_well_somewhere_is_not_away(state: str) -> None:
    place(State.DOWN)
    place(state, location="http://arm:8001")

    assert registry.away() == {}


@pytest.mark.django_db
def test_an_arm_that_went_down_a_moment_ago_may_be_counted_on() -> None:
    place(State.DOWN, since_s=50)

    assert registry.away() == {}
    assert not registry.instances_of("analyst")[0].takes_steps


@pytest.mark.django_db
@pytest.mark.parametrize("state", [State.DRAINING, State.DISABLED])
def test_an_arm_that_an_operator_took_out_is_away_at_once(state: str) -> None:
    place(state, since_s=0)

    assert "analyst" in registry.away()


@pytest.mark.django_db
def test_what_was_found_long_ago_says_nothing() -> None:
    place(State.DOWN, age_s=61)

    assert registry.away() == {}


@pytest.mark.django_db
def test_a_process_asks_once_in_a_while(django_assert_num_queries: Any) -> None:
    place(State.DOWN)

    with django_assert_num_queries(1):
        answers = [registry.away() for _ in range(20)]

    assert all(answers)


@pytest.mark.django_db
def test_without_a_database_what_was_read_last_counts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: Any) -> None:
        raise DatabaseError("connection lost")

    place(State.DOWN)
    before = registry.away()
    monkeypatch.setattr(registry, "_from_tables", broken)
    registry._cache._fresh_until = 0.0

    assert registry.away() == before == {"analyst": "no lexicon"}


@pytest.mark.django_db
def test_no_name_means_two_arms_or_two_capabilities_of_one() -> None:
    specs = registry.catalogue()
    arms = [name for spec in specs for name in (spec.name, *spec.synonyms)]

    assert sorted(arms) == sorted(set(arms))
    for spec in specs:
        names = [n for each in spec.capabilities for n in (each.name, *each.synonyms)]
        assert sorted(names) == sorted(set(names)), spec.name
