"""Slots: never more at once than there are places, and none is lost."""

from __future__ import annotations

import threading
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID, uuid4

import pytest
from django.db import IntegrityError, connections, transaction

from octollm.resilience import slots
from octollm.resilience.models import Slot

pytestmark = pytest.mark.django_db

SCOPE = "owner:tests"


def taken(scope: str = SCOPE) -> int:
    return Slot.objects.filter(scope=scope, holder__isnull=False).count()


def test_scope_without_rows_has_no_limit():
    assert all(slots.take(SCOPE, uuid4()) for _ in range(5))
    assert not Slot.objects.exists()


def test_as_many_begin_as_there_are_places():
    slots.resize(SCOPE, 2)

    began = [slots.take(SCOPE, uuid4()) for _ in range(3)]

    assert began == [True, True, False]
    assert taken() == 2


def test_full_scope_keeps_no_other_waiting():
    slots.resize(SCOPE, 1)
    slots.resize("owner:other", 1)
    slots.take(SCOPE, uuid4())

    assert slots.take("owner:other", uuid4())


def test_freed_place_is_taken_again():
    slots.resize(SCOPE, 1)
    first = uuid4()
    slots.take(SCOPE, first)

    assert slots.free(first) == 1
    assert slots.take(SCOPE, uuid4())


def test_holder_frees_its_places_of_every_scope_and_no_other_s():
    for scope in (SCOPE, "arm:tests"):
        slots.resize(scope, 2)
    mine, other = uuid4(), uuid4()
    for scope in (SCOPE, "arm:tests"):
        slots.take(scope, mine)
    slots.take(SCOPE, other)

    assert slots.free(mine) == 2
    assert (taken(), taken("arm:tests")) == (1, 0)


def test_place_of_a_turn_that_failed_is_free():
    slots.resize(SCOPE, 1)
    with transaction.atomic():
        slots.take(SCOPE, uuid4())
        transaction.set_rollback(True)

    assert taken() == 0


def test_raised_limit_lets_more_begin_and_disturbs_nobody():
    slots.resize(SCOPE, 1)
    slots.take(SCOPE, uuid4())

    slots.resize(SCOPE, 2)

    assert (slots.take(SCOPE, uuid4()), slots.take(SCOPE, uuid4())) == (True, False)


def test_lowered_limit_holds_for_who_begins_from_then_on():
    slots.resize(SCOPE, 3)
    holders = [uuid4() for _ in range(3)]
    for holder in holders:
        slots.take(SCOPE, holder)

    slots.resize(SCOPE, 1)
    slots.free(*holders)

    assert (slots.take(SCOPE, uuid4()), slots.take(SCOPE, uuid4())) == (True, False)


def test_lifted_limit_is_none():
    slots.resize(SCOPE, 1)

    slots.resize(SCOPE, None)

    assert all(slots.take(SCOPE, uuid4()) for _ in range(3))


@pytest.mark.parametrize("count", [0, -1])
def test_limit_below_one_is_refused(count):
    slots.resize(SCOPE, 2)

    with pytest.raises(ValueError, match="at least 1"):
        slots.resize(SCOPE, count)

    assert Slot.objects.count() == 2


def test_sweep_frees_what_the_dead_hold():
    slots.resize(SCOPE, 3)
    living, dead = uuid4(), uuid4()
    for holder in (living, dead):
        slots.take(SCOPE, holder)

    assert slots.sweep(lambda _: {living}) == 1
    assert list(Slot.objects.exclude(holder=None).values_list("holder")) == [(living,)]


def test_sweep_leaves_who_begins_while_it_asks():
    slots.resize(SCOPE, 2)
    dead, late = uuid4(), uuid4()
    slots.take(SCOPE, dead)

    def find_living(_: Collection[UUID]) -> set[UUID]:
        slots.free(dead)
        slots.take(SCOPE, late)
        return set()

    assert slots.sweep(find_living) == 0
    assert Slot.objects.get(holder=late).n == 1


def test_sweep_of_free_places_asks_nobody():
    slots.resize(SCOPE, 2)

    def find_living(_: Collection[UUID]) -> set[UUID]:
        raise AssertionError("asked")

    assert slots.sweep(find_living) == 0


@pytest.mark.parametrize("fields", [{"n": 0}, {"n": 1, "holder": uuid4()}])
def test_row_that_makes_no_sense_is_refused(fields):
    with pytest.raises(IntegrityError), transaction.atomic():
        Slot.objects.create(scope=SCOPE, **fields)


@pytest.mark.django_db(transaction=True)
def test_sixteen_at_once_take_three_places():
    slots.resize(SCOPE, 3)
    barrier = threading.Barrier(16)

    def take() -> bool:
        try:
            barrier.wait(10)
            return slots.take(SCOPE, uuid4())
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        futures = [pool.submit(take) for _ in range(16)]
        began = [future.result(30) for future in futures]

    assert sum(began) == taken() == 3
