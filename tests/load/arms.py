"""Print how arms elsewhere are routed to, and how soon trouble is over.

``make bench-arms [ARGS="--rounds 5 --tasks 200"]``. Private engines, real workers, real
arms as processes on loopback:

* two arms of nine instances each; of one all are well, of the other three are, and one
  each is killed, hanging, answering 500, rubbish, slow and flapping. Rounds alternate.
* three equal instances under many calls, then with one that is ten times slower.
* how long it takes until a stopped instance is found down and then well again, until
  another worker probes when the leader is killed, and until tasks go on after FLUSHALL.
"""

from __future__ import annotations

import argparse
import os
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.conf import settings
from django.db import connections
from django.test.utils import setup_databases, teardown_databases

WORKERS = 2
THREADS = 8


def main() -> None:
    """Start everything, measure, print."""
    options = _options()
    django.setup()
    from tests.engines import running_engines
    from tests.load.arm_rig import ArmRig

    with ExitStack() as stack:
        engines = stack.enter_context(running_engines())
        home = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        databases = setup_databases(verbosity=0, interactive=False)
        stack.callback(teardown_databases, databases, verbosity=0)
        _print_breaker()
        _print_shares(options.calls)
        rig = ArmRig(home)
        stack.enter_context(rig.running())
        settings.OCTOLLM_REMOTE_ARMS = _listed(rig)
        workers = _Workers(engines, home, rig.setting())
        stack.callback(workers.kill_all)
        workers.start_all()
        _print_rounds(rig, rounds=options.rounds, tasks=options.tasks)
        _print_recovery(rig, workers, engines)
        workers.kill_all()


class _Workers:
    """Worker processes that know the arms."""

    def __init__(self, engines: Any, home: Path, environment: dict[str, str]) -> None:
        self._engines, self._home = engines, home
        self._environment = engines.environment(**environment)
        self.running: list[Any] = []

    def start_all(self) -> None:
        for number in range(WORKERS):
            log = self._home / f"worker-{number}.log"
            arguments = ("-m", "octollm", "worker")
            process = self._engines.python(
                *arguments, log=log, environment=self._environment
            )
            self.running.append(process)

    def kill(self, pid: int) -> None:
        """Kill the worker that a process id belongs to, as kill -9 does."""
        os.killpg(os.getpgid(pid), signal.SIGKILL)

    def kill_all(self) -> None:
        from octollm.embedded.processes import kill_group

        while self.running:
            kill_group(self.running.pop())


def _listed(rig: Any) -> Any:
    import json

    return json.loads(rig.setting()["OCTOLLM_REMOTE_ARMS"])


# Throughput --------------------------------------------------------------------------
def _print_rounds(rig: Any, *, rounds: int, tasks: int) -> None:
    from tests.load import arm_rig

    arm_rig.wait_until_known(rig)
    rig.make_trouble()
    first = arm_rig.tasks_of("trouble", tasks)
    took_s = arm_rig.run(first)
    _say(f"{tasks} tasks while all goes wrong at once: {took_s:.1f} s", first)
    speeds: dict[str, list[float]] = {"calm": [], "trouble": []}
    for number in range(rounds):
        for arm, found in speeds.items():
            made = arm_rig.tasks_of(arm, tasks)
            found.append(tasks / arm_rig.run(made))
            _say(f"round {number + 1}, {arm}: {found[-1]:.1f} tasks/s", made)
    calm, trouble = (statistics.median(speeds[arm]) for arm in ("calm", "trouble"))
    print(
        f"median of {rounds} rounds: calm {calm:.1f}, in trouble {trouble:.1f} tasks/s: "
        f"{calm / trouble:.2f} times slower (limit 2)"
    )
    for arm in speeds:
        twice = [step for step, n in rig.effect_counts(arm).items() if n > 1]
        print(f"{arm}: {len(twice)} steps with more than one effect (limit 0)")
    for kind, count in rig.call_counts("trouble").items():
        print(f"  calls at the instance that is {kind}: {count}")


def _say(what: str, tasks: list[Any]) -> None:
    from tests.load.arm_rig import outcomes

    ended = ", ".join(f"{n} {how}" for how, n in sorted(outcomes(tasks).items()))
    print(f"{what} ({ended})", flush=True)


# Recovery -----------------------------------------------------------------------------
def _print_recovery(rig: Any, workers: _Workers, engines: Any) -> None:
    import redis

    from octollm.resilience.models import Leader, Worker
    from tests.load import arm_rig

    place = rig.arms["calm"][0]
    place.signal(signal.SIGSTOP)
    _timed(
        "an instance that accepts and never answers is down after", _is(place, "down")
    )
    place.signal(signal.SIGCONT)
    _timed("and well again after", _is(place, "healthy"))

    leader = Leader.objects.get(name="prober").holder
    workers.kill(Worker.objects.get(pk=leader).pid)
    _timed(
        "the leader of the probes is killed, another leads after",
        lambda: Leader.objects.get(name="prober").holder != leader,
        limit_s=15,
    )
    client = redis.Redis.from_url(engines.redis_url)
    tasks = arm_rig.tasks_of("calm", 20)
    client.flushall()
    took_s = arm_rig.run(tasks)
    _say(f"20 tasks right after FLUSHALL: {took_s:.1f} s", tasks)


def _is(place: Any, state: str) -> Callable[[], bool]:
    from arms.registry_models import ArmInstance

    rows = ArmInstance.objects.filter(location=place.url, state=state)
    return rows.exists


def _timed(what: str, has_come: Callable[[], bool], *, limit_s: float = 40.0) -> None:
    from tests.waiting import wait_until

    began = time.monotonic()
    wait_until(has_come, timeout_s=120, interval_s=0.05)
    print(f"{what} {time.monotonic() - began:.1f} s (limit {limit_s:g})", flush=True)


# Shares ---------------------------------------------------------------------------------
def _print_shares(calls: int) -> None:
    with tempfile.TemporaryDirectory() as home:
        equal = _shares(Path(home), calls, "equal", ["0.02"] * 3)
    most, least = max(equal), min(equal)
    print(
        f"three equal instances, {calls} calls: {equal}; they differ by "
        f"{(most - least) / statistics.mean(equal):.1%} (limit 15 %)"
    )
    with tempfile.TemporaryDirectory() as home:
        *others, slow = _shares(Path(home), calls, "uneven", ["0.02", "0.02", "0.2"])
    share = slow / (calls / 3)
    print(
        f"one ten times slower: {[*others, slow]}; it gets {share:.1%} of an even share "
        "(limit 20 %)"
    )


def _shares(home: Path, calls: int, name: str, delays: list[str]) -> list[int]:
    """Return how many calls each instance got, from several threads at once."""
    import json

    from arms import registration, registry
    from arms.entries import read_entry
    from arms.registry_models import ArmInstance
    from tests.arm_process import ArmProcess
    from tests.arm_server import Ways
    from tests.arm_store import rows

    places = [
        ArmProcess(home, "--no-store", "--delay-s", delay, name=name)
        for delay in delays
    ]
    with ExitStack() as stack:
        for place in places:
            stack.enter_context(place)
            instance = registration.announce(
                registration.Announcement(
                    arm=name, url=place.url, source=ArmInstance.Source.OPERATOR
                )
            )
            entry = json.dumps(Ways(name=name, has_store=False).entry()).encode()
            registration.write_entry(instance, read_entry(entry, name=name))
            ArmInstance.objects.filter(pk=instance.pk).update(state="healthy")
        registry.forget()
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(_calls, [name] * THREADS, [calls // THREADS] * THREADS))
        ArmInstance.objects.filter(arm_id=name).delete()
        return [len(rows(place.store, "calls")) for place in places]


def _calls(arm: str, count: int) -> None:
    try:
        for _ in range(count):
            _call(arm)
    finally:
        connections.close_all()


def _call(arm: str) -> None:
    from datetime import UTC, datetime, timedelta

    from arms import boundary
    from arms.contract import ArmRequest, StepBudget
    from arms.dispatch import Invocation, invoke
    from tests.ledgers import make_services

    request = ArmRequest(
        request_id=uuid4(),
        task_id=uuid4(),
        step_id="s",
        attempt=1,
        capability="work",
        input={"value": 1},
        budget=StepBudget(deadline_at=datetime.now(UTC) + timedelta(minutes=1)),
    )
    invoke(
        Invocation(
            request=request,
            arm=arm,
            services=make_services(),
            scopes=boundary.Scopes(task=uuid4(), knowledge=uuid4()),
            is_new=True,
            is_retry=False,
            holder=uuid4(),
            may_fall_back=lambda _: False,
            note=lambda _: None,
            freed=lambda _: None,
        )
    )


# The breaker's own cost -------------------------------------------------------------------
def _print_breaker() -> None:
    from octollm.resilience import breakers

    counts: Counter[str] = Counter()
    took = []
    for _ in range(20_000):
        began = time.perf_counter()
        counts[str(breakers.ask("arm:bench").is_allowed)] += 1
        breakers.succeeded("arm:bench")
        took.append((time.perf_counter() - began) * 1000)
    took.sort()
    print(
        f"a closed breaker costs a call p50 {statistics.median(took):.4f} ms, "
        f"p99.9 {took[int(len(took) * 0.999)]:.4f} ms (limit 0.5)"
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="How arms elsewhere are routed to.")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--tasks", type=int, default=200, help="per round")
    parser.add_argument("--calls", type=int, default=3_000, help="for the shares")
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
