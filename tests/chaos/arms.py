"""The arms elsewhere of a chaos run, and what they really did."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from octollm.embedded.services import Program, ask
from octollm.embedded.up import free_port
from tasks_app.models import Step
from tests.arm_store import effects
from tests.chaos.invariants import Finding


@dataclass(frozen=True, kw_only=True)
class ArmPlace:
    """Where an arm elsewhere is, and the file that holds what it did."""

    name: str
    options: tuple[str, ...]
    port: int
    store: Path

    def program(self, environment: Mapping[str, str], *, logs: Path) -> Program:
        """Return the arm as a program to run."""
        command = [
            *(sys.executable, "-m", "tests.arm_server", "--port", str(self.port)),
            *("--store", str(self.store), "--name", self.name, *self.options),
        ]
        return Program(
            name=self.name,
            command=command,
            environment=environment,
            log=logs / f"{self.name}.log",
            probe=lambda: ask("127.0.0.1", self.port, "/health").status == 200,
        )


def arm_places(home: Path) -> list[ArmPlace]:
    """Return the arms: one with a store of executions, then one without."""
    return [_place("remote", home), _place("forgetful", home, "--no-store")]


def setting_of(places: Sequence[ArmPlace]) -> dict[str, str]:
    """Return the environment by which a process knows these arms."""
    listed = [
        {"name": place.name, "url": f"http://127.0.0.1:{place.port}"}
        for place in places
    ]
    return {"OCTOLLM_REMOTE_ARMS": json.dumps(listed)}


def effects_are_single(place: ArmPlace) -> Finding:
    """Check that an arm did each step at most once, and once what is recorded."""
    done = effects(place.store)
    recorded = Step.objects.filter(arm=place.name, status=Step.Status.DONE)
    missing = [
        f"step {step.step_id} of task {step.task_id} is done and had no effect"
        for step in recorded
        if not done[str(step.task_id), step.step_id]
    ]
    return Finding(
        name=f"the arm {place.name} did each step once",
        checked=len(done),
        broken=(*_twice(done), *missing),
    )


def repeats_of(place: ArmPlace) -> str:
    """Say how often an arm did a step more than once."""
    done = effects(place.store)
    return (
        f"the arm {place.name}, which has no store, did {len(_twice(done))} of "
        f"{len(done)} steps more than once"
    )


def _twice(done: Counter[tuple[str, str]]) -> list[str]:
    return [
        f"step {step_id} of task {UUID(task_id)} was done {count} times"
        for (task_id, step_id), count in done.items()
        if count > 1
    ]


def _place(name: str, home: Path, *options: str) -> ArmPlace:
    return ArmPlace(
        name=name,
        options=options,
        port=free_port("127.0.0.1", 0),
        store=home / f"{name}.sqlite",
    )
