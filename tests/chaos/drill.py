"""Workers that hold waiting steps, and are killed one after the other."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from uuid import UUID

import httpx2
from django.db.models import QuerySet

from octollm.resilience.models import Leader
from tasks_app.models import Attempt, Step
from tests.chaos.fleet import Blow
from tests.chaos.recoveries import Recovery, recoveries_of
from tests.chaos.schedule import Strike
from tests.chaos.stage import Stage
from tests.waiting import wait_until

# A killed worker's step that is not started again by then never will be.
PATIENCE_S = 120.0
LOOK_S = 0.25
HOUR_S = 3600


@dataclass(frozen=True, kw_only=True)
class Kill:
    """One killed worker; ``was_leader`` when it did the reaper's duties."""

    blow: Blow
    was_leader: bool

    @property
    def recoveries(self) -> list[Recovery]:
        """What became of the steps that it held."""
        return recoveries_of(self.blow)

    @property
    def slowest_s(self) -> float | None:
        """When the last of its steps was started again; None while one was not."""
        times = [recovery.resumed_s for recovery in self.recoveries]
        there = [seconds for seconds in times if seconds is not None]
        return max(there) if there and len(there) == len(times) else None


@dataclass
class Drill:
    """The whole exercise.

    Attributes:
        held: how many steps wait at any time.
        gap_s: the least and the most between two kills.
        task_ids: of all tasks that were submitted.
    """

    stage: Stage
    seed: int
    kill_count: int
    held: int
    gap_s: tuple[float, float]
    say: Callable[[str], None]
    kills: list[Kill] = field(default_factory=list)
    task_ids: list[UUID] = field(default_factory=list)

    def run(self) -> None:
        """Kill as often as wanted, wait for what was held, and let all tasks end."""
        (self.stage.home / "gates").mkdir()
        random = Random(f"{self.seed}/drill")
        with self.stage.address.client() as client:
            for _ in range(self.kill_count):
                self._pass(client, random.uniform(*self.gap_s))
                self._kill(wait_until(lambda: self._victims(client), timeout_s=90))
            wait_until(self._all_recovered, timeout_s=PATIENCE_S, interval_s=LOOK_S)
        self._let_end()

    def _pass(self, client: httpx2.Client, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self._tend(client)
            time.sleep(LOOK_S)

    def _tend(self, client: httpx2.Client) -> None:
        """Let end what was recovered, and submit as many anew."""
        self.stage.fleet.tick()
        recovered = self._held().filter(number__gt=1)
        for task_id in recovered.values_list("step__task_id", flat=True):
            self._gate(self.task_ids.index(task_id)).touch()
        waiting = Step.objects.filter(
            kind=Step.Kind.WORK, status__in=("waiting", "ready", "running")
        )
        planning = Step.objects.filter(
            kind=Step.Kind.PLAN, status__in=("ready", "running")
        )
        for _ in range(self.held - waiting.count() - planning.count()):
            self._submit(client)

    def _gate(self, number: int) -> Path:
        return self.stage.home / "gates" / str(number)

    def _submit(self, client: httpx2.Client) -> None:
        step = {
            "step_id": "a",
            "description": "Wait",
            "arm": "gate",
            "capability": "wait",
            "input": {"value": "a", "gate": str(self._gate(len(self.task_ids)))},
        }
        body = {
            "goal": "Wait at the gate",
            "budget": {"max_time_seconds": HOUR_S},
            "plan": {"steps": [step]},
        }
        answer = client.post("/submit", json=body)
        assert answer.status_code == 200, answer.text
        self.task_ids.append(UUID(answer.json()["task_id"]))

    def _held(self) -> QuerySet[Attempt]:
        return Attempt.objects.filter(outcome="running", step__kind=Step.Kind.WORK)

    def _victims(self, client: httpx2.Client) -> list[int]:
        """Return which workers hold a step that no worker was killed with before."""
        self._tend(client)
        workers = self.stage.fleet.workers
        if not all(worker.is_up for worker in workers):
            return []
        names = self._held().filter(number=1).values_list("worker", flat=True)
        pids = {int(name.split(":")[1]) for name in names}
        return [place for place, each in enumerate(workers) if pids & each.pids]

    def _kill(self, victims: list[int]) -> None:
        place = victims[len(self.kills) % len(victims)]
        fleet = self.stage.fleet
        holder = Leader.objects.filter(name="reaper").values_list("holder", flat=True)
        leads = {int(name.split(":")[1]) for name in holder}
        was_leader = bool(leads & fleet.workers[place].pids)
        fleet.strike(Strike(at_s=0, kind="worker", choice=place, down_s=0))
        self.kills.append(Kill(blow=fleet.blows[-1], was_leader=was_leader))
        self.say(f"kill {len(self.kills)} of {self.kill_count}")

    def _all_recovered(self) -> bool:
        self.stage.fleet.tick()
        return all(kill.slowest_s is not None for kill in self.kills)

    def _let_end(self) -> None:
        for number in range(len(self.task_ids)):
            self._gate(number).touch()
        still = Step.objects.filter(status__in=("waiting", "ready", "running"))
        wait_until(lambda: not still.exists(), timeout_s=PATIENCE_S)
