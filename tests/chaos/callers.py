"""Callers that submit a run's tasks, and later cancel, approve or reject some."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tasks_app.models import Task
from tests.chaos.plans import ChaosTask
from tests.chaos.told import TIMEOUT_S, Address, Caller, Told

THREADS = 4
# So many of a hundred tasks are submitted once more although an answer came.
REPEATED_PERCENT = 15
LOOK_S = 0.3


@dataclass(order=True, frozen=True)
class _Errand:
    """What a caller has yet to do with a task, and when."""

    due: float
    task: ChaosTask = field(compare=False)
    task_id: str = field(compare=False)


class Callers:
    """A few threads that submit, each its share of the tasks, and one for the rest."""

    def __init__(
        self, tasks: Sequence[ChaosTask], *, seed: int, address: Address, every_s: float
    ) -> None:
        """Submit one task each ``every_s`` seconds, all callers together."""
        self.told = Told()
        self._seed = seed
        self._every_s = every_s
        self._address = address
        self._errands: list[_Errand] = []
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._submitting = [
            threading.Thread(target=self._submit_all, args=(tasks[place::THREADS],))
            for place in range(THREADS)
        ]
        self._following_up = threading.Thread(target=self._follow_up)

    @property
    def are_done(self) -> bool:
        """Whether everything was submitted."""
        return not any(thread.is_alive() for thread in self._submitting)

    @property
    def have_errands(self) -> bool:
        """Whether something is yet to be done with a task."""
        with self.told.lock:
            return bool(self._errands)

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        for thread in (*self._submitting, self._following_up):
            thread.start()

    def stop(self) -> None:
        """Ask nothing more."""
        self._stop.set()
        for thread in (*self._submitting, self._following_up):
            if thread.ident is not None:
                thread.join(2 * TIMEOUT_S)

    # Submitting -------------------------------------------------------------------
    def _submit_all(self, tasks: Sequence[ChaosTask]) -> None:
        with Caller(self._address, self.told, self._stop) as caller:
            for task in tasks:
                due = self._began + task.number * self._every_s
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self._see_in(caller, task)

    def _see_in(self, caller: Caller, task: ChaosTask) -> None:
        task_id = self._submit(caller, task)
        if task_id is None:
            return
        with self.told.lock:
            self.told.accepted[task.number] = task_id
            if task.later:
                due = time.monotonic() + task.later_s
                self._errands.append(_Errand(due, task, task_id))
        random = Random(f"{self._seed}/caller/{task.number}")
        if random.randrange(100) < REPEATED_PERCENT:
            again = self._submit(caller, task)
            if again not in (None, task_id):
                with self.told.lock:
                    self.told.differing.append(task.key)

    def _submit(self, caller: Caller, task: ChaosTask) -> str | None:
        headers = {"Idempotency-Key": task.key}
        answer = caller.ask("POST", "/submit", task.body, headers=headers)
        if answer is None:
            return None
        with self.told.lock:
            self.told.repeats += answer.headers.get("Idempotency-Replayed") == "true"
            if answer.status_code != 200:
                said = f"{task.key}: {answer.status_code} {answer.text[:300]}"
                self.told.refused.append(said)
                return None
        return str(answer.json()["task_id"])

    # Afterwards -------------------------------------------------------------------
    def _follow_up(self) -> None:
        with Caller(self._address, self.told, self._stop) as caller:
            while not self._stop.wait(LOOK_S):
                now = time.monotonic()
                with self.told.lock:
                    due = [errand for errand in self._errands if errand.due <= now]
                for errand in due:
                    if self._run(caller, errand):
                        with self.told.lock:
                            self._errands.remove(errand)

    def _run(self, caller: Caller, errand: _Errand) -> bool:
        """Do what a caller wants of a task, if it can be done; say if that is over."""
        path, body = f"/tasks/{errand.task_id}", None
        if errand.task.later != "cancel":
            shown = caller.ask("GET", path)
            if shown is None:
                return True
            is_time, body = _may_be_done(errand.task.later, shown.json())
            if not is_time:
                return shown.json()["status"] in Task.TERMINAL
        # What is repeated because its answer was lost is told 409.
        answer = caller.ask("POST", f"{path}/{errand.task.later}", body)
        if answer is not None and answer.status_code == 200:
            with self.told.lock:
                obeyed = self.told.obeyed.setdefault(errand.task.later, set())
                obeyed.add(errand.task.number)
        return True


def _may_be_done(wish: str, task: dict[str, Any]) -> tuple[bool, Any]:
    """Say whether a task is as far as a wish needs it, and what to send with it."""
    if wish == "retry":
        return task["status"] == Task.Status.FAILED, None
    approval = task["approval"]
    if not approval or approval["state"] != "pending":
        return False, None
    return True, {"plan_version": approval["plan_version"]}
