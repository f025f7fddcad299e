"""Who looks after arms is killed: another worker does, soon enough."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from django.utils import timezone

from arms import registration
from arms.registration import Announcement
from arms.registry_models import ArmInstance, HealthCheck, RegisteredArm
from octollm.embedded.processes import kill_group
from octollm.resilience.models import Leader, Worker
from tests import figures
from tests.arm_server import ArmServer, Ways
from tests.flow.conftest import System
from tests.waiting import wait_until

# The time for which a leader that says nothing leads is the real one.
TIMES = {"OCTOLLM_LEADER_TTL_S": "10", "OCTOLLM_PROBE_INTERVAL_S": "1"}
TAKEN_OVER_S = 15.0


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[ArmServer]:
    """Serve an arm that an operator has entered."""
    with ArmServer(tmp_path / "watched.sqlite", ways=Ways(name="watched")) as server:
        registration.announce(
            Announcement(
                arm="watched", url=server.url, source=ArmInstance.Source.OPERATOR
            )
        )
        yield server
    RegisteredArm.objects.filter(pk="watched").delete()


def is_in(state: str) -> bool:
    return ArmInstance.objects.filter(arm_id="watched", state=state).exists()


def is_up(worker: Any) -> bool:
    return any(_is_of(worker, row) for row in Worker.objects.all())


def leads(worker: Any) -> bool:
    """Tell whether a process of the worker looks after the arms."""
    holders = Leader.objects.filter(name="prober").values("holder")
    return any(_is_of(worker, row) for row in Worker.objects.filter(pk__in=holders))


def _is_of(worker: Any, row: Worker) -> bool:
    try:
        return bool(os.getpgid(row.pid) == worker.pid)
    except ProcessLookupError:
        # A row of one that was killed.
        return False


def test_another_worker_probes_after_the_leader_was_killed(
    system: System, watched: ArmServer
):
    Leader.objects.filter(name="prober").delete()
    system.environment |= TIMES
    first = system.start_worker()
    wait_until(lambda: leads(first) and is_in("healthy"), timeout_s=60)
    second = system.start_worker()
    wait_until(lambda: is_up(second), timeout_s=60)
    assert leads(first)

    watched.ways = replace(watched.ways, health="500")
    killed_at, began = timezone.now(), time.monotonic()
    kill_group(first)
    wait_until(
        HealthCheck.objects.filter(
            instance__arm_id="watched", at__gt=killed_at, is_healthy=False
        ).exists,
        timeout_s=40,
    )
    took_s = time.monotonic() - began
    wait_until(lambda: is_in("down"))
    assert leads(second)

    figures.note(
        f"the leader of the probes is killed: the next probe after {took_s:.1f} s"
    )
    assert took_s < TAKEN_OVER_S
