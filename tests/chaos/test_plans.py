"""A seed makes a run's tasks and strikes, the same each time."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from arms import registry
from tasks_app.models import Task
from tasks_app.planning import compile_given
from tests.arm_server import ArmServer, Ways
from tests.builders import make_owner
from tests.chaos.plans import ARMS, ODDITIES, make_task, make_tasks
from tests.chaos.schedule import KINDS, MIN_GAP_S, make_schedule
from tests.probes import probe_until_well


def schedule(seed: int):
    return make_schedule(seed, until_s=100, every_s=3, pause_s=4)


def test_seed_and_number_alone_make_a_task():
    tasks = make_tasks(7, 50)

    assert tasks == make_tasks(7, 50)
    assert tasks[49] == make_task(7, 49)
    assert tasks != make_tasks(8, 50)


def test_each_hundred_tasks_have_all_that_is_odd():
    dealt = Counter(task.oddity for task in make_tasks(7, 200)[100:])

    assert {name: dealt[name] for name in ODDITIES} == dict(ODDITIES)


@pytest.fixture
def _arms_elsewhere(tmp_path: Path, settings: Any, db: None) -> Iterator[None]:
    """Have the arms elsewhere in the catalogue."""
    names = [name for name in ARMS if name != "gate"]
    with ExitStack() as stack:
        servers = [
            stack.enter_context(ArmServer(tmp_path / name, ways=Ways(name=name)))
            for name in names
        ]
        settings.OCTOLLM_REMOTE_ARMS = [
            {"name": server.ways.name, "url": server.url} for server in servers
        ]
        registry.forget()
        probe_until_well()
        yield
    registry.forget()


@pytest.mark.usefixtures("_arms_elsewhere")
def test_every_plan_compiles_as_it_was_drawn():
    owner = make_owner()
    for drawn in make_tasks(7, 100):
        if drawn.is_planned_by_model:
            continue
        row = Task(
            owner=owner,
            goal=drawn.body["goal"],
            acceptance_criteria=drawn.body["acceptance_criteria"],
            max_cost_usd=Decimal(drawn.body["budget"]["max_cost_usd"]),
            max_time_seconds=drawn.body["budget"]["max_time_seconds"],
            given_plan=drawn.body["plan"],
        )

        compiled = {step.step_id: step.depends_on for step in compile_given(row).steps}

        wanted = drawn.body["plan"]["steps"]
        assert compiled == {s["step_id"]: tuple(s["depends_on"]) for s in wanted}
        assert compiled.keys() == drawn.expected.keys()


def test_seed_alone_makes_the_schedule():
    assert schedule(7) == schedule(7)
    assert schedule(7) != schedule(8)


def test_each_kind_comes_once_before_any_comes_again():
    kinds = [strike.kind for strike in schedule(7)]

    assert set(kinds[: len(KINDS)]) == set(KINDS)
    assert len(kinds) > len(KINDS)


def test_paused_workers_sleep_longer_than_their_leases():
    strikes = schedule(7)
    moments = [strike.at_s for strike in strikes]

    assert min(strike.down_s for strike in strikes if strike.kind == "pause") > 4
    pairs = itertools.pairwise(moments)
    assert all(later - earlier >= MIN_GAP_S for earlier, later in pairs)
