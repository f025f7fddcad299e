from __future__ import annotations

from collections import Counter
from random import Random
from typing import Any
from uuid import UUID

import pytest

from arms.load import Loads
from arms.retry_budget import EARNED, RESERVE, RetryBudgets
from arms.routing import ONLY_ONE, Candidate, choose

RANDOM = Random(7)  # noqa: S311  # repeatable


def candidate(number: int, **given: Any) -> Candidate:
    fields: dict[str, Any] = {"weight": 10, "latency_s": 0.1}
    return Candidate(
        instance_id=UUID(int=number), location=f"http://{number}", **(fields | given)
    )


def shares(*candidates: Candidate, draws: int = 3_000) -> dict[int, float]:
    """Return how often each was chosen, as a share of all draws."""
    counts = Counter(
        choose(candidates, random=RANDOM)[0].instance_id.int for _ in range(draws)
    )
    return {
        each.instance_id.int: counts[each.instance_id.int] / draws
        for each in candidates
    }


def test_nobody_to_choose_from_is_an_error():
    with pytest.raises(ValueError, match="nobody"):
        choose([], random=RANDOM)


def test_the_only_one_is_chosen_and_said_so():
    only = candidate(1, in_flight=50)

    assert choose([only], random=RANDOM) == (only, ONLY_ONE)


def test_equal_instances_get_equal_shares():
    found = shares(candidate(1), candidate(2), candidate(3))

    assert all(0.28 < share < 0.39 for share in found.values())


def test_small_differences_in_latency_do_not_count():
    found = shares(candidate(1, latency_s=0.10), candidate(2, latency_s=0.14))

    assert 0.45 < found[1] < 0.55


def test_slow_instance_gets_next_to_nothing():
    found = shares(candidate(1), candidate(2), candidate(3, latency_s=1.0))

    assert found[3] < 1 / 3 / 5


def test_busy_instance_is_spared():
    found = shares(candidate(1, in_flight=3), candidate(2), candidate(3))

    assert found[1] == 0.0


def test_weight_says_how_often_one_is_drawn():
    found = shares(candidate(1, weight=30), candidate(2), candidate(3), candidate(4))

    assert found[1] > 1.8 * found[2]


def test_degraded_instance_gets_a_quarter_of_its_weight():
    others = [candidate(number) for number in range(2, 8)]
    found = shares(candidate(1, is_degraded=True), *others)

    assert found[1] < 0.5 * found[2]


def test_instance_of_which_nothing_is_known_is_tried():
    found = shares(candidate(1, latency_s=None), candidate(2))

    assert found[1] > 0.4


def test_two_different_ones_are_drawn():
    idle, busy = candidate(1), candidate(2, in_flight=9)

    chosen = {choose([idle, busy], random=RANDOM)[0].instance_id for _ in range(50)}

    assert chosen == {idle.instance_id}


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({}, {"latency_s": 5.0}, "less to wait for (0.1 s) than at http://2 (5 s)"),
        ({}, {"in_flight": 4}, "nothing under way"),
    ],
)
def test_reason_names_the_figures(one, other, words):
    _, reason = choose([candidate(1, **one), candidate(2, **other)], random=RANDOM)

    assert words in reason
    assert "drawn of 2 by weight" in reason


class TestLoads:
    def test_what_probes_say_counts_until_a_call_tells_more(self):
        assert Loads().of(UUID(int=1), probed_s=0.2) == (0, 0.2)

    def test_calls_under_way_are_counted(self):
        loads = Loads()

        with loads.measured(UUID(int=1)), loads.measured(UUID(int=1)):
            assert loads.of(UUID(int=1), probed_s=None)[0] == 2

        assert loads.of(UUID(int=1), probed_s=None)[0] == 0

    def test_call_that_fails_is_no_longer_under_way(self):
        loads = Loads()

        with pytest.raises(ZeroDivisionError), loads.measured(UUID(int=1)):
            raise ZeroDivisionError

        assert loads.of(UUID(int=1), probed_s=None)[0] == 0

    def test_slow_call_counts_at_once_and_fast_ones_little_by_little(self, monkeypatch):
        clock = Clock(monkeypatch)
        loads = Loads()

        for took_s in (0.1, 4.0):
            with loads.measured(UUID(int=1)):
                clock.now += took_s
        slow = loads.of(UUID(int=1), probed_s=None)[1]
        with loads.measured(UUID(int=1)):
            clock.now += 0.1

        assert slow == pytest.approx(2.05)
        assert 1.5 < (loads.of(UUID(int=1), probed_s=None)[1] or 0) < 1.7

    def test_what_was_seen_fades_towards_the_probes(self, monkeypatch):
        clock = Clock(monkeypatch)
        loads = Loads()
        with loads.measured(UUID(int=1)):
            clock.now += 8.0

        clock.now += 60.0

        assert (loads.of(UUID(int=1), probed_s=0.01)[1] or 0) < 0.1


class Clock:
    """The monotonic clock, as a test wants it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1_000.0
        monkeypatch.setattr("arms.load.time.monotonic", lambda: self.now)


class TestRetryBudgets:
    def test_retries_of_many_requests_stay_below_a_fifth(self):
        budgets = RetryBudgets()
        sent = 0
        for _ in range(1_000):
            budgets.earn("a")
            while budgets.spend("a"):
                sent += 1

        assert sent <= 1_000 * EARNED + RESERVE

    def test_the_only_request_of_an_hour_can_be_tried_again(self):
        budgets = RetryBudgets()
        budgets.earn("a")

        assert [budgets.spend("a") for _ in range(3)] == [True] * 3

    def test_arms_do_not_share(self):
        budgets = RetryBudgets()
        while budgets.spend("a"):
            pass

        assert budgets.spend("b")

    def test_reserve_comes_back_with_time_and_no_more_than_that(self):
        budgets = RetryBudgets()
        while budgets.spend("a"):
            pass

        for _ in range(100):
            budgets.refill()

        assert sum(budgets.spend("a") for _ in range(100)) == RESERVE
