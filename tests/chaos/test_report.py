"""What the reports say, and that they say it when something is wrong."""

from __future__ import annotations

import argparse
import time
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from tasks_app import reaper
from tasks_app.models import Step, Task
from tests.builders import claim_of, finish_step, make_planned_task, make_step
from tests.chaos import drill_report
from tests.chaos.drill import Kill
from tests.chaos.fleet import Blow
from tests.chaos.invariants import Finding
from tests.chaos.recoveries import p95, recoveries_of
from tests.chaos.report import Outcome, command, render
from tests.chaos.told import Told

KILLED, OTHER = "host:4711:aaaa", "host:4712:bbbb"


def outcome_of(*findings: Finding) -> Outcome:
    """Return what a run left that found this."""
    return Outcome(
        command="python -m tests.chaos.run --seed=7",
        seed=7,
        tasks=2,
        elapsed_s=30.0,
        told=Told(accepted={0: "a", 1: "b"}, answers=Counter({200: 2, 0: 1})),
        blows=[Blow(at=0.0, at_s=1.5, kind="web", target="web")],
        ends=Counter({"completed": 2}),
        recoveries=[],
        outages={"web": [1.0, 3.0]},
        deaths={},
        faults=Counter(),
        findings=findings,
    )


def blow() -> Blow:
    """Return the kill, now, of the worker that claimed as ``KILLED``."""
    pids = frozenset({4711})
    return Blow(at=time.time(), at_s=3.0, kind="worker", target="worker-1", pids=pids)


@pytest.fixture
def held(db: None) -> Task:
    """Return a task of which a worker runs a step."""
    task = make_planned_task(make_step("a"))
    claim_of(task, "a", worker=KILLED)
    return task


def take_back(task: Task) -> None:
    """Let the lease run out, and the reaper see it."""
    past = timezone.now() - timedelta(seconds=1)
    Step.objects.filter(task=task, step_id="a").update(lease_until=past)
    reaper.take_back_lost_steps()


def test_report_names_what_replays_it_and_what_was_struck():
    text = render(outcome_of(Finding(name="all is well", checked=3)))

    assert "every invariant holds" in text
    assert "Replay: `python -m tests.chaos.run --seed=7`" in text
    assert "- web: 1, at 1.5 s" in text
    assert "- all is well: 0 broken, 3 checked" in text


def test_report_shows_what_breaks_an_invariant():
    broken = tuple(f"task {number} is stuck" for number in range(12))
    outcome = outcome_of(Finding(name="no task is stuck", checked=20, broken=broken))

    text = render(outcome)

    assert not outcome.holds
    assert "INVARIANTS ARE BROKEN" in text
    assert "- no task is stuck: 12 broken, 20 checked" in text
    assert "  - task 9 is stuck" in text
    assert "  - and 2 more" in text


def test_command_leaves_out_where_the_output_went():
    options = argparse.Namespace(seed=7, tasks=3, report="x", logs=None)

    assert command("tests.chaos.run", options).endswith(
        "-m tests.chaos.run --seed=7 --tasks=3"
    )


def test_percentile_is_that_of_the_nearest_rank():
    assert p95([float(n) for n in range(1, 21)]) == 19.0
    assert p95([4.0]) == 4.0


def test_killed_workers_step_is_measured_until_it_is_started_again(held: Task):
    struck = blow()
    take_back(held)
    claim_of(held, "a", worker=OTHER)

    (found,) = recoveries_of(struck)

    assert found.outcome == "lost"
    assert 0 < (found.noticed_s or 0) < (found.resumed_s or 0) < 10


def test_steps_of_other_workers_and_of_other_times_are_not_measured(held: Task):
    finish_step(make_planned_task(make_step("a")), "a")
    earlier = Blow(
        at=time.time() - 60, at_s=0.0, kind="worker", target="w", pids=frozenset({4711})
    )

    assert recoveries_of(earlier) == []
    assert [found.step for found in recoveries_of(blow())] == [f"a of {held.pk}"]


@pytest.mark.parametrize("goes_on", [True, False])
def test_drill_fails_when_a_step_never_goes_on(held: Task, goes_on: bool):
    kill = Kill(blow=blow(), was_leader=True)
    take_back(held)
    if goes_on:
        claim_of(held, "a", worker=OTHER)
    options: Any = argparse.Namespace(seed=7)

    text = drill_report.render([kill], [], options)

    assert drill_report.is_good([kill], []) is goes_on
    assert ("never" in text) is not goes_on
    assert "worker-1, the reaper's leader" in text
