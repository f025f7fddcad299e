"""What an operator does to arms and instances, and that routing heeds it."""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import timedelta
from uuid import uuid4

import pytest
from django.utils import timezone

from arms import dispatch, operating, registration, registry
from arms.announcing import hear
from arms.entries import Entry
from arms.registry_models import NOBODY, ArmInstance, RegisteredArm
from octollm.resilience import breakers
from octollm.resilience.models import Breaker, Slot
from tests.engines import TestEngines
from tests.instances import make_arm, make_instance, open_breaker

pytestmark = pytest.mark.django_db

State = ArmInstance.State


@pytest.fixture(autouse=True)
def _nothing_known_before() -> Iterator[None]:
    for forget in (registry.forget, breakers._cache.forget):
        forget()
    yield
    registry.forget()
    breakers._cache.forget()


def state_of(instance: ArmInstance) -> str:
    return ArmInstance.objects.get(pk=instance.pk).state


def places(arm: str = "billing") -> int:
    scopes = [
        registration.scope_of(pk)
        for pk in ArmInstance.objects.filter(arm_id=arm).values_list("pk", flat=True)
    ]
    return Slot.objects.filter(scope__in=scopes).count()


@pytest.mark.parametrize(
    ("act", "state", "answers"),
    [
        (operating.drain, State.DRAINING, True),
        (operating.disable, State.DISABLED, False),
    ],
)
def test_what_is_set_aside_gets_no_steps(act, state, answers):
    instance = make_instance()

    assert act(instance.pk, by="ada", reason="a new disk")

    (known,) = registry.instances_of("billing")
    assert (state_of(instance), known.takes_steps) == (state, False)
    # One that drains can still say what it did.
    assert known.answers is answers
    assert "billing" in registry.away()


@pytest.mark.parametrize("act", [operating.drain, operating.disable])
def test_setting_aside_twice_is_one_act(act):
    instance = make_instance()

    assert [act(instance.pk, by="ada") for _ in range(2)] == [True, False]


def test_an_operators_drain_stands_when_the_instance_comes_back():
    instance = make_instance(source=ArmInstance.Source.ANNOUNCED)
    announcement = registration.Announcement(
        arm="billing", url=instance.location, source=ArmInstance.Source.ANNOUNCED
    )
    hear(announcement, "draining")

    assert operating.drain(instance.pk, by="ada")
    hear(announcement, "serving")

    assert state_of(instance) == State.DRAINING


def test_an_enabled_instance_may_drain_by_its_own_word_and_come_back():
    instance = make_instance(source=ArmInstance.Source.ANNOUNCED)
    announcement = registration.Announcement(
        arm="billing", url=instance.location, source=ArmInstance.Source.ANNOUNCED
    )
    operating.drain(instance.pk, by="ada")
    operating.enable(instance.pk, by="ada")

    hear(announcement, "draining")
    assert state_of(instance) == State.DRAINING
    hear(announcement, "serving")
    assert state_of(instance) == State.STARTING


def test_setting_aside_and_enabling_say_since_when():
    long_ago = timezone.now() - timedelta(days=1)
    for act in (operating.drain, operating.enable):
        ArmInstance.objects.update(since=long_ago)
        instance = ArmInstance.objects.first() or make_instance(since=long_ago)

        act(instance.pk, by="ada")

        instance.refresh_from_db()
        assert timezone.now() - instance.since < timedelta(minutes=1)


def test_a_drained_instance_can_be_disabled_and_the_other_way_round():
    instance = make_instance()

    assert operating.drain(instance.pk, by="ada")
    assert operating.disable(instance.pk, by="ada")
    assert operating.drain(instance.pk, by="ada")
    assert state_of(instance) == State.DRAINING


@pytest.mark.parametrize("state", operating.SET_ASIDE)
def test_an_enabled_instance_starts_anew_and_is_probed_at_once(state):
    later = timezone.now() + timedelta(hours=1)
    instance = make_instance(state=state, falls=7, detail="old", probe_at=later)

    assert operating.enable(instance.pk, by="ada")

    instance.refresh_from_db()
    assert instance.state == State.STARTING
    assert (instance.falls, instance.rises, instance.detail) == (0, 0, "")
    assert instance.probe_at <= timezone.now()


@pytest.mark.parametrize("state", [State.HEALTHY, State.DOWN, State.STARTING])
def test_enabling_does_not_touch_what_nobody_set_aside(state):
    instance = make_instance(state=state)

    assert not operating.enable(instance.pk, by="ada")
    assert state_of(instance) == state


def test_each_act_is_logged_with_who_and_why_and_only_if_it_changed_something(caplog):
    instance = make_instance()

    with caplog.at_level(logging.WARNING, logger="arms.operating"):
        operating.drain(instance.pk, by="ada", reason="a new disk")
        operating.drain(instance.pk, by="bob")
        operating.drain(uuid4(), by="eve")

    (record,) = [each for each in caplog.records if each.name == "arms.operating"]
    assert {"ada", "a new disk"} <= set(record.args)


def test_a_breaker_is_closed_for_everybody_at_once():
    instance = make_instance()
    name = open_breaker(instance).name
    breakers._cache.forget()
    assert breakers.wait_s(name) > 0

    assert operating.close_breaker(instance.pk, by="ada")

    assert breakers.wait_s(name) == 0
    row = Breaker.objects.get(name=name)
    assert (row.state, row.open_until, row.failures) == ("closed", None, 0)


def test_closing_heeds_no_wish_to_be_left_alone_either():
    instance = make_instance()
    name = registration.breaker_of("billing", instance.pk)
    breakers.hold_off(name, seconds=300)

    assert operating.close_breaker(instance.pk, by="ada")
    assert breakers.ask(name).is_allowed


def test_a_closed_breaker_and_an_unknown_instance_have_nothing_to_close():
    assert not operating.close_breaker(make_instance().pk, by="ada")
    assert not operating.close_breaker(uuid4(), by="ada")


def test_the_breaker_of_a_row_is_that_of_dispatch():
    instance = make_instance()
    (known,) = registry.instances_of("billing")

    assert dispatch.breaker_of(known) == registration.breaker_of("billing", instance.pk)


def test_a_weight_is_what_routing_reads_next():
    instance = make_instance()

    assert operating.reweigh(instance.pk, 40, by="ada")

    (known,) = registry.instances_of("billing")
    assert known.weight == 40


@pytest.mark.parametrize("weight", [0, -1, 101])
def test_a_weight_out_of_range_is_refused(weight):
    instance = make_instance()

    with pytest.raises(ValueError, match="from 1 to 100"):
        operating.reweigh(instance.pk, weight, by="ada")


def test_a_limit_gives_each_instance_so_many_places_and_lifting_it_none():
    make_arm(concurrency=None)
    for number in (1, 2):
        make_instance(f"http://billing-{number}:8090")

    operating.set_limit("billing", 3, by="ada")
    assert places() == 6
    operating.set_limit("billing", 1, by="ada")
    assert places() == 2
    operating.set_limit("billing", None, by="ada")
    assert places() == 0


def test_without_the_operators_limit_that_of_the_arm_holds():
    make_arm(concurrency=2)
    make_instance()

    operating.set_limit("billing", 5, by="ada")
    operating.set_limit("billing", None, by="ada")

    assert places() == 2


@pytest.mark.parametrize("limit", [0, -3, 1_001])
def test_a_limit_out_of_range_is_refused(limit):
    make_arm()

    with pytest.raises(ValueError, match="from 1 to 1000"):
        operating.set_limit("billing", limit, by="ada")


def test_what_an_arm_may_see_is_in_its_entry_at_the_next_look():
    make_instance()
    assert registry.spec_of("billing").sees == frozenset()

    operating.set_may_see("billing", ["EMAIL"], by="ada")
    # As a second passes, without forgetting the entries that were read.
    registry._cache._fresh_until = 0.0

    assert registry.spec_of("billing").sees == {"EMAIL"}


def test_an_arm_gets_nothing_that_it_does_not_ask_for():
    make_arm(sees=["EMAIL"])

    with pytest.raises(ValueError, match="US_SSN"):
        operating.set_may_see("billing", ["EMAIL", "US_SSN"], by="ada")
    assert RegisteredArm.objects.get(name="billing").may_see == []


@pytest.mark.parametrize(
    ("stand_in", "expected"),
    [("", "invoices"), ("mail", "mail"), (NOBODY, "")],
)
def test_the_operators_word_on_a_fallback_comes_before_the_arms(stand_in, expected):
    make_arm(fallback="invoices")
    make_arm("mail")
    make_instance()

    operating.set_stand_in("billing", stand_in, by="ada")

    assert registry.fallback_of("billing") == expected


def test_an_arms_new_entry_leaves_the_operators_fallback():
    make_arm("mail")
    instance = make_instance()
    operating.set_stand_in("billing", "mail", by="ada")

    described = {"name": "billing", "version": "2", "description": "", "fallback": "x"}
    capability = RegisteredArm.objects.get(name="billing").capabilities
    entry = Entry.model_validate(described | {"capabilities": capability})
    assert registration.write_entry(instance, entry)

    assert registry.fallback_of("billing") == "mail"


@pytest.mark.parametrize("name", ["nobody", "billing"])
def test_a_fallback_is_another_arm(name):
    make_arm()

    with pytest.raises(ValueError, match="no other arm"):
        operating.set_stand_in("billing", name, by="ada")


def test_a_token_is_stored_encrypted_and_sent_as_it_is():
    instance = make_instance()
    token = "another-" + "secret"

    operating.set_token(instance.pk, token, by="ada")

    instance.refresh_from_db()
    assert token not in instance.token
    assert registration.decrypted(instance.token) == token


def test_a_token_that_no_header_can_hold_is_refused():
    instance = make_instance()

    with pytest.raises(ValueError, match="is no key"):
        operating.set_token(instance.pk, "two words", by="ada")


_WATCH = """
import time, django
django.setup()
from arms import registry
seen = None
while True:
    (known,) = registry.instances_of("billing")
    if known.state != seen:
        seen = known.state
        print(seen, flush=True)
    time.sleep(0.02)
"""


@pytest.mark.django_db(transaction=True)
def test_another_process_heeds_an_act_within_two_seconds(engines: TestEngines) -> None:
    instance = make_instance()
    watcher = subprocess.Popen(  # our own interpreter
        [sys.executable, "-W", "ignore", "-c", _WATCH],
        env=engines.environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    with watcher:
        try:
            assert watcher.stdout is not None
            assert watcher.stdout.readline().strip() == State.HEALTHY
            began = time.monotonic()
            operating.drain(instance.pk, by="ada")
            assert watcher.stdout.readline().strip() == State.DRAINING
            assert time.monotonic() - began < 2.0
        finally:
            watcher.kill()
