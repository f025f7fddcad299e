"""Callers that submit a run's tasks, and ask again whenever no answer comes."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import httpx2

from tests.chaos.plans import ChaosTask

THREADS = 4
TIMEOUT_S = 10.0
AGAIN_AFTER_S = 0.2
# So many of a hundred tasks are submitted once more although an answer came.
REPEATED_PERCENT = 15


@dataclass
class Told:
    """What the callers were told.

    Attributes:
        accepted: the task's id by its number, from an answer with status 200.
        answers: how many answers had each status; 0 stands for none.
        repeats: submissions under a key that had been sent before.
        differing: keys that named one task first and another one later.
        refused: what was neither accepted nor worth to be sent again.
        cancelled: numbers of tasks whose cancellation was answered 200.
        latencies: seconds to each accepting answer.
    """

    accepted: dict[int, str] = field(default_factory=dict)
    answers: Counter[int] = field(default_factory=Counter)
    repeats: int = 0
    differing: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    cancelled: set[int] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)


class Callers:
    """A few threads with one key, each with its share of the tasks."""

    def __init__(
        self,
        tasks: Sequence[ChaosTask],
        *,
        seed: int,
        base_url: str,
        token: str,
        every_s: float,
    ) -> None:
        """Submit one task each ``every_s`` seconds, all callers together."""
        self.told = Told()
        self._seed = seed
        self._every_s = every_s
        self._base_url = base_url
        self._headers = {"Authorization": f"Bearer {token}"}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._began = time.monotonic()
        self._threads = [
            threading.Thread(target=self._run, args=(tasks[place::THREADS],))
            for place in range(THREADS)
        ]

    @property
    def are_done(self) -> bool:
        """Whether everything was submitted."""
        return not any(thread.is_alive() for thread in self._threads)

    def start(self) -> None:
        """Begin."""
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Submit nothing more."""
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(2 * TIMEOUT_S)

    def _run(self, tasks: Sequence[ChaosTask]) -> None:
        with httpx2.Client(
            base_url=self._base_url, headers=self._headers, timeout=TIMEOUT_S
        ) as client:
            for task in tasks:
                due = self._began + task.number * self._every_s
                if self._stop.wait(max(0.0, due - time.monotonic())):
                    return
                self._see_through(client, task)

    def _see_through(self, client: httpx2.Client, task: ChaosTask) -> None:
        task_id = self._submit(client, task, is_repeat=False)
        if task_id is None:
            return
        with self._lock:
            self.told.accepted[task.number] = task_id
        random = Random(f"{self._seed}/caller/{task.number}")
        if random.randrange(100) < REPEATED_PERCENT:
            self._submit_again(client, task, task_id)
        if task.cancel_after_s is not None and not self._stop.wait(task.cancel_after_s):
            self._cancel(client, task, task_id)

    def _submit_again(
        self, client: httpx2.Client, task: ChaosTask, task_id: str
    ) -> None:
        again = self._submit(client, task, is_repeat=True)
        if again not in (None, task_id):
            with self._lock:
                self.told.differing.append(task.key)

    def _cancel(self, client: httpx2.Client, task: ChaosTask, task_id: str) -> None:
        # A cancellation whose answer was lost is told 409 when it is repeated.
        answer = self._until_answered(client, f"/tasks/{task_id}/cancel")
        if answer is not None and answer.status_code == 200:
            with self._lock:
                self.told.cancelled.add(task.number)

    def _submit(
        self, client: httpx2.Client, task: ChaosTask, *, is_repeat: bool
    ) -> str | None:
        answer = self._until_answered(client, "/submit", task, is_repeat=is_repeat)
        if answer is None:
            return None
        if answer.status_code != 200:
            with self._lock:
                said = f"{task.key}: {answer.status_code} {answer.text[:300]}"
                self.told.refused.append(said)
            return None
        return str(answer.json()["task_id"])

    def _until_answered(
        self,
        client: httpx2.Client,
        path: str,
        task: ChaosTask | None = None,
        *,
        is_repeat: bool = False,
    ) -> httpx2.Response | None:
        """Ask until the answer is one; nothing when the run was stopped."""
        headers = {"Idempotency-Key": task.key} if task else {}
        while not self._stop.is_set():
            began = time.monotonic()
            answer = None
            # Nobody may be there, or whoever was is killed meanwhile.
            with contextlib.suppress(httpx2.HTTPError):
                answer = client.post(path, json=task and task.body, headers=headers)
            with self._lock:
                self.told.answers[answer.status_code if answer else 0] += 1
                self.told.repeats += is_repeat
                is_repeat = task is not None
                if answer is not None and answer.status_code == 200 and task:
                    self.told.latencies.append(time.monotonic() - began)
            if answer is not None and not _is_worth_repeating(answer.status_code):
                return answer
            self._stop.wait(AGAIN_AFTER_S)
        return None


def _is_worth_repeating(status: int) -> bool:
    return status == 429 or status >= 500
