"""Switches: what stands, what is recorded, and who is told."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connection, connections
from django.utils import timezone
from rest_framework.test import APIClient

from octollm.resilience import switches
from octollm.resilience.models import Switch
from octollm.resilience.switches import MAINTENANCE, standing, turn_off, turn_on

pytestmark = pytest.mark.django_db

_told: list[tuple[str, bool]] = []


def tell(switch: Switch) -> int:
    """What a test has told of every switch that is turned."""
    _told.append((switch.name, switch.ended_at is None))
    return 7


@pytest.fixture(autouse=True)
def _own_followers(monkeypatch):
    monkeypatch.setattr(switches, "_followers", [f"{__name__}.tell"])
    _told.clear()


def test_switch_stands_with_who_why_and_since_when():
    turn_on(MAINTENANCE, by="ada", reason="a new disk")

    switch = standing(MAINTENANCE)

    assert switch is not None
    assert (switch.by, switch.reason, switch.is_now) == ("ada", "a new disk", False)
    assert timezone.now() - switch.since < timedelta(minutes=1)


def test_what_was_turned_off_stands_no_more_and_stays_recorded():
    turn_on(MAINTENANCE, by="ada", reason="a new disk")

    assert turn_off(MAINTENANCE, by="bob")
    assert standing(MAINTENANCE) is None
    ended = Switch.objects.get()
    assert (ended.by, ended.reason, ended.ended_by) == ("ada", "a new disk", "bob")
    assert ended.ended_at is not None


def test_turning_off_what_does_not_stand_changes_nothing():
    assert not turn_off(MAINTENANCE, by="bob")
    assert (Switch.objects.count(), _told) == (0, [])


def test_turning_on_again_is_another_act():
    turn_on(MAINTENANCE, by="ada", reason="a new disk")
    turn_on(MAINTENANCE, by="bob", reason="it burns", is_now=True)

    switch = standing(MAINTENANCE)

    assert switch is not None
    assert (switch.by, switch.is_now) == ("bob", True)
    assert Switch.objects.filter(ended_by="bob", by="ada").exists()


def test_each_act_is_told_and_logged_as_a_warning(caplog):
    assert turn_on(MAINTENANCE, by="ada", reason="a new disk") == 7
    turn_off(MAINTENANCE, by="bob")

    assert _told == [(MAINTENANCE, True), (MAINTENANCE, False)]
    logged = [(r.levelname, r.message, r.by) for r in caplog.records]
    assert logged == [
        ("WARNING", "a switch was turned on: maintenance", "ada"),
        ("WARNING", "a switch was turned off: maintenance", "bob"),
    ]


def test_words_that_are_too_long_are_cut():
    turn_on(MAINTENANCE, by="a" * 300, reason="b" * 900)

    switch = standing(MAINTENANCE)

    assert switch is not None
    assert (len(switch.by), len(switch.reason)) == (200, 500)


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_the_one_that_wants_it_now_is_heard():
    for _ in range(20):
        barrier = threading.Barrier(2)

        def turn(is_now: bool, barrier: threading.Barrier = barrier) -> None:
            try:
                barrier.wait(10)
                turn_on(MAINTENANCE, by="ada", is_now=is_now)
            finally:
                connections.close_all()

        with ThreadPoolExecutor(2) as pool:
            for future in [pool.submit(turn, is_now) for is_now in (True, False)]:
                future.result(30)

        rows = Switch.objects.filter(name=MAINTENANCE)
        assert rows.filter(is_now=True).exists()
        assert rows.filter(ended_at=None).count() == 1
        rows.delete()


# How long something waited -------------------------------------------------------
def waited_s(*, since_s: float, owner: str) -> float:
    with connection.cursor() as cursor:
        statement = switches.waited("m.since", "m.owner")
        cursor.execute(
            f"SELECT extract(epoch FROM {statement}) FROM (SELECT clock_timestamp() "
            "- make_interval(secs => %s) AS since, %s::text AS owner) m",
            [since_s, owner],
        )
        return float(cursor.fetchone()[0])


def stood(name: str, *, from_s: float, to_s: float | None) -> None:
    now = timezone.now()
    Switch.objects.create(
        name=name,
        by="ada",
        since=now - timedelta(seconds=from_s),
        ended_at=None if to_s is None else now - timedelta(seconds=to_s),
    )


def test_time_of_a_stop_does_not_count_as_waiting():
    stood(MAINTENANCE, from_s=50, to_s=30)
    stood("owner:a", from_s=20, to_s=None)
    stood("owner:b", from_s=90, to_s=None)

    assert waited_s(since_s=100, owner="a") == pytest.approx(60, abs=1)


def test_only_the_part_of_a_stop_after_the_beginning_is_left_out():
    stood(MAINTENANCE, from_s=500, to_s=90)
    stood(MAINTENANCE, from_s=900, to_s=600)

    assert waited_s(since_s=100, owner="a") == pytest.approx(90, abs=1)


# What others see --------------------------------------------------------------------
@pytest.mark.parametrize("is_on", [True, False])
def test_ready_tells_of_maintenance_and_stays_ready(is_on, monkeypatch):
    from octollm import health

    monkeypatch.setattr(health, "_probes", {})
    health.register("maintenance", f"{__name__}.maintenance_is_{is_on}".lower())

    answer = APIClient().get("/ready")

    assert (answer.status_code, answer.json()["status"]) == (200, "ready")
    assert answer.json()["maintenance"] is is_on


def maintenance_is_true() -> tuple[bool, str]:
    return True, "on"


def maintenance_is_false() -> tuple[bool, str]:
    return True, ""


def test_check_of_readiness_tells_what_stands():
    assert switches.say_maintenance() == (True, "")
    turn_on(MAINTENANCE, by="ada")
    assert switches.say_maintenance() == (True, "on")


def test_scrape_tells_of_maintenance_and_of_stopped_owners():
    def scraped() -> list[str]:
        page = APIClient().get("/metrics", REMOTE_ADDR="127.0.0.1").content.decode()
        return [line for line in page.splitlines() if line.startswith("octollm_")]

    assert "octollm_maintenance 0.0" in scraped()
    turn_on(MAINTENANCE, by="ada")
    turn_on("owner:a", by="ada")

    lines = scraped()

    assert "octollm_maintenance 1.0" in lines
    assert "octollm_owners_stopped 1.0" in lines
