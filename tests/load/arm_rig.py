"""Instances of arms as processes, well and unwell, and tasks for them."""

from __future__ import annotations

import json
import signal
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from django.db import transaction

from tests.arm_process import ArmProcess
from tests.arm_store import effects, rows
from tests.waiting import wait_until

# How an instance may be unwell, and by what options of tests/arm_server.py.
TROUBLES: dict[str, tuple[str, ...]] = {
    "killed": (),
    "hanging": (),
    "answering 500": ("--does", "fail"),
    "rubbish": ("--does", "babble"),
    "slow": ("--does", "slow"),
    "flapping": ("--flaps-s", "3"),
}


@dataclass
class ArmRig:
    """Two arms with as many instances each: of one all are well, of the other few."""

    directory: Path
    well: int = 3
    arms: dict[str, list[ArmProcess]] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start all instances."""
        with ExitStack() as stack:
            for _ in range(self.well + len(TROUBLES)):
                self._add("calm", stack)
            for _ in range(self.well):
                self._add("trouble", stack)
            for kind, options in TROUBLES.items():
                place = self._add("trouble", stack, *options)
                self.kinds[place.url] = kind
            yield

    def make_trouble(self) -> None:
        """Kill the one that is to be killed, and stop the one that is to hang."""
        for place in self.arms["trouble"]:
            kind = self.kinds.get(place.url)
            if kind == "killed":
                place.kill()
            elif kind == "hanging":
                # The kernel accepts connections for it, and it never answers.
                place.signal(signal.SIGSTOP)

    def setting(self) -> dict[str, str]:
        """Return the environment by which processes know all instances."""
        listed = [
            {"name": name, "url": each.url}
            for name, found in self.arms.items()
            for each in found
        ]
        return {"OCTOLLM_REMOTE_ARMS": json.dumps(listed)}

    def effect_counts(self, name: str) -> Counter[tuple[str, str]]:
        """Return how often each step had its effect, over all instances of an arm."""
        total: Counter[tuple[str, str]] = Counter()
        for place in self.arms[name]:
            total.update(effects(place.store))
        return total

    def call_counts(self, name: str) -> dict[str, int]:
        """Return how many calls each instance got, by its kind."""
        return {
            f"{self.kinds.get(place.url, 'well')} :{place.port}": len(
                rows(place.store, "calls")
            )
            for place in self.arms[name]
        }

    def _add(self, name: str, stack: ExitStack, *options: str) -> ArmProcess:
        place = ArmProcess(self.directory, *options, name=name)
        stack.enter_context(place)
        self.arms.setdefault(name, []).append(place)
        return place


def tasks_of(arm: str, count: int, *, steps: int = 2, seconds: int = 90) -> list[Any]:
    """Make planned tasks whose steps the arm does one after the other."""
    from tests.builders import make_planned_task, make_step

    made = []
    for _ in range(count):
        chain = [
            make_step(
                f"s{number}",
                arm=arm,
                capability="work",
                depends_on=(f"s{number - 1}",) if number else (),
            )
            for number in range(steps)
        ]
        # At once, or a worker that runs already takes the step that is to plan it.
        with transaction.atomic():
            made.append(make_planned_task(*chain, max_time_seconds=seconds))
    return made


def run(tasks: Sequence[Any], *, hints: int = 8, timeout_s: float = 300.0) -> float:
    """Have the tasks run; return the seconds until all have ended."""
    from tasks_app.hints import Hints, send_hints
    from tasks_app.models import Task

    ids = [task.pk for task in tasks]
    began = time.monotonic()
    send_hints("default", Hints(count=hints))
    is_open = Task.objects.filter(pk__in=ids, finished_at__isnull=True)
    wait_until(lambda: not is_open.exists(), timeout_s=timeout_s, interval_s=0.1)
    return time.monotonic() - began


def outcomes(tasks: Sequence[Any]) -> Counter[str]:
    """Return how tasks ended, and of which error."""
    from tasks_app.models import Step, Task

    ids = [task.pk for task in tasks]
    failed = Step.objects.filter(task__in=ids, error__isnull=False).exclude(
        status="done"
    )
    codes = {step.task_id: (step.error or {}).get("code") for step in failed}
    ended = Task.objects.filter(pk__in=ids).values_list("pk", "status")
    return Counter(
        status if status == "completed" else f"{status}: {codes.get(pk)}"
        for pk, status in ended
    )


def wait_until_known(rig: ArmRig, *, timeout_s: float = 60.0) -> None:
    """Wait until all instances are in the registry and found well."""
    from arms.registry_models import ArmInstance

    # The flapping one may be in its bad half whenever it is looked at.
    count = sum(len(found) for found in rig.arms.values()) - 1
    healthy = ArmInstance.objects.filter(arm_id__in=rig.arms, state="healthy")
    try:
        wait_until(lambda: healthy.count() >= count, timeout_s=timeout_s)
    except AssertionError:
        found = ArmInstance.objects.values_list("location", "state", "detail")
        raise AssertionError(list(found)) from None
