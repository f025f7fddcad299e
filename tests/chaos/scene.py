"""A chaos run from its first process to its outcome."""

from __future__ import annotations

import argparse
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from uuid import UUID

from django.db import InterfaceError, OperationalError, connection

from tasks_app.models import Charge, Task
from tests.chaos.arms import effects_are_single, repeats_of
from tests.chaos.callers import Callers
from tests.chaos.expectations import check_expectations, end_of
from tests.chaos.invariants import calls_made_twice, check_all
from tests.chaos.model import ChaosModel
from tests.chaos.plans import ChaosTask, make_tasks
from tests.chaos.recoveries import recoveries_of
from tests.chaos.report import Outcome, command
from tests.chaos.schedule import make_schedule
from tests.chaos.stage import Stage, stage

Say = Callable[[str], None]

# Everything that is waited for in a running system, made short.
TIMES = {
    "OCTOLLM_LEASE_S": "3",
    "OCTOLLM_LEASE_RENEW_S": "1",
    "OCTOLLM_REAPER_INTERVAL_S": "0.5",
    "OCTOLLM_LEADER_TTL_S": "2",
    "OCTOLLM_HINT_AFTER_S": "1",
    "OCTOLLM_CANCEL_POLL_S": "0.5",
    "OCTOLLM_RETRY_MIN_S": "0.5",
    # Arms fail here on purpose, and come back within seconds.
    "OCTOLLM_BREAKER_OPEN_S": "3",
    "OCTOLLM_PROBE_INTERVAL_S": "1",
    "OCTOLLM_RETRY_MAX_S": "3",
    # Steps are hit more often here than anywhere.
    "OCTOLLM_MAX_ATTEMPTS": "4",
    "OCTOLLM_SHUTDOWN_S": "6",
    "OCTOLLM_LLM_TIMEOUT_S": "3",
}
# A paused worker's leases have run out when it goes on.
PAUSE_S = 3.5
TICK_S = 0.05
LOOK_S = 1.0
SAY_S = 15.0
# A charge whose attempt is over is presumed after a minute; nothing else lasts longer.
CALM_S = 150.0


def play(options: argparse.Namespace, *, say: Say) -> Outcome:
    """Start everything, let it run and be struck, wait for its end, and look at it."""
    with ExitStack() as stack:
        model = stack.enter_context(ChaosModel(seed=options.seed))
        say("starting everything")
        running = stack.enter_context(
            stage(
                environment={**TIMES, **_model_settings(model)},
                workers=options.workers,
                has_arms=True,
                logs=options.logs,
            )
        )
        tasks = make_tasks(options.seed, options.tasks)
        callers = Callers(
            tasks,
            seed=options.seed,
            address=running.address,
            every_s=options.seconds / len(tasks),
        )
        stack.callback(callers.stop)
        scene = Scene(options, stage=running, callers=callers, say=say)
        scene.run()
        return scene.outcome(tasks, model)


class Scene:
    """Callers at work, strikes, and an eye on both."""

    def __init__(
        self,
        options: argparse.Namespace,
        *,
        stage: Stage,
        callers: Callers,
        say: Say,
    ) -> None:
        """Take everything that runs already."""
        self._options = options
        self._fleet = stage.fleet
        self._arms = stage.arms
        self._callers = callers
        self._say = say
        self._strikes = deque(
            make_schedule(
                options.seed,
                until_s=options.seconds,
                every_s=options.every,
                pause_s=PAUSE_S,
            )
        )
        self._seen: dict[tuple[UUID, int], str] = {}
        self._looked_at = self._said_at = 0.0
        self._elapsed_s = 0.0

    def run(self) -> None:
        """Play until all was submitted and struck, and then until all has ended."""
        self._fleet.began = time.monotonic()
        self._callers.start()
        while self._strikes or not self._callers.are_done:
            self._fleet.tick()
            self._strike()
            self._look()
            time.sleep(TICK_S)
        self._say("calm: everything is brought back and may end")
        self._fleet.settle(within_s=60)
        self._await_end()

    def outcome(self, tasks: list[ChaosTask], model: ChaosModel) -> Outcome:
        """Look at what is left."""
        told, fleet = self._callers.told, self._fleet
        kept, forgetful = self._arms
        ids = [UUID(task_id) for task_id in told.accepted.values()]
        struck = [blow for blow in fleet.blows if blow.kind == "worker" and blow.target]
        expected = check_expectations(tasks, told, seen=self._seen, model=model)
        return Outcome(
            command=command("tests.chaos.run", self._options),
            seed=self._options.seed,
            tasks=len(tasks),
            elapsed_s=self._elapsed_s,
            told=told,
            blows=fleet.blows,
            ends=Counter(map(end_of, Task.objects.filter(pk__in=ids))),
            recoveries=[r for blow in struck for r in recoveries_of(blow)],
            outages={name: m.outages for name, m in fleet.members.items()},
            deaths={name: m.deaths for name, m in fleet.members.items()},
            faults=model.faults,
            findings=[*check_all(ids), effects_are_single(kept), *expected],
            notes=[
                repeats_of(forgetful),
                "model calls that were taken for lost, asked again and answered both "
                f"times: {calls_made_twice(ids)}",
            ],
        )

    def _strike(self) -> None:
        now_s = time.monotonic() - self._fleet.began
        while self._strikes and self._strikes[0].at_s <= now_s:
            self._fleet.strike(self._strikes.popleft())

    def _await_end(self) -> None:
        deadline = time.monotonic() + CALM_S
        while not self._is_over() and time.monotonic() < deadline:
            self._fleet.tick()
            self._look()
            time.sleep(TICK_S)
        self._looked_at = 0.0
        self._look()

    def _is_over(self) -> bool:
        """Tell whether nothing is left to happen."""
        if self._is_looking_soon():
            return False
        try:
            is_open = Task.objects.exclude(status__in=Task.TERMINAL).exists()
            if is_open:
                self._elapsed_s = time.monotonic() - self._fleet.began
            held = Charge.objects.filter(state=Charge.State.HELD)
            is_quiet = not is_open and not self._callers.have_errands
            return is_quiet and not held.exists()
        except (OperationalError, InterfaceError):
            connection.close()
            return False

    def _is_looking_soon(self) -> bool:
        return time.monotonic() - self._looked_at < LOOK_S - TICK_S

    def _look(self) -> None:
        """Note how tasks ended, to see whether that stays; tell how far it is."""
        now = time.monotonic()
        if now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        ended = Task.objects.filter(finished_at__isnull=False)
        try:
            for task_id, run, status in ended.values_list("pk", "run", "status"):
                self._seen.setdefault((task_id, run), status)
        except (OperationalError, InterfaceError):
            # It was struck; the next look makes a new connection.
            connection.close()
        if now - self._said_at > SAY_S:
            self._said_at = now
            self._say(
                f"{now - self._fleet.began:.0f} s: "
                f"{len(self._callers.told.accepted)} accepted, {len(self._seen)} "
                f"ended, {len(self._fleet.blows)} strikes"
            )


def _model_settings(model: ChaosModel) -> Mapping[str, str]:
    return {
        "OCTOLLM_LLM_BASE_URL": model.base_url,
        "OCTOLLM_LLM_MODEL": "fake-model",
        "OCTOLLM_LLM_PRICE_INPUT": "1",
        "OCTOLLM_LLM_PRICE_OUTPUT": "2",
    }
