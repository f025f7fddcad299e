"""Print what the engine costs: CPU per task, and how fast a step is handed on.

``make bench [ARGS="--tasks 300 --rounds 3"]``. Private engines with fsync on, one
worker process with 4 threads. The arms answer at once, so all that is counted is
ours: claims, turns, boundary, ledger, judge.
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.db import connection
from django.test.utils import setup_databases, teardown_databases

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
TARGET_MS = 40.0


def main() -> None:
    """Start everything, measure, print."""
    options = _options()
    django.setup()
    from octollm.embedded.processes import kill_group
    from tests.engines import running_engines

    # With fsync on, as in production: what a commit costs belongs to the engine.
    durable = running_engines(postgres_options=())
    with durable as engines, tempfile.TemporaryDirectory() as logs:
        databases = setup_databases(verbosity=0, interactive=False)
        # The reaper would start a round's first tasks while its last ones are made.
        patient = engines.environment(OCTOLLM_HINT_AFTER_S="3600")
        worker = engines.python(
            *("-m", "octollm", "worker"),
            log=Path(logs) / "worker.log",
            environment=patient,
        )
        try:
            _wait_for_worker()
            for number in range(options.rounds):
                _print_round(number + 1, options.tasks, worker.pid, engines.home)
            _print_idle(options.handoffs)
        finally:
            kill_group(worker)
            teardown_databases(databases, verbosity=0)


def _print_round(number: int, count: int, worker: int, home: Path) -> None:
    tasks = [_chain_of_four() for _ in range(count)]
    before, began = _cpu_ms(worker, home), time.monotonic()
    _hint(4)
    _wait_until_ended(tasks)
    elapsed = time.monotonic() - began
    used = {k: (v - before[k]) / count for k, v in _cpu_ms(worker, home).items()}
    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in used.items())
    print(
        f"round {number}: {sum(used.values()):.1f} ms CPU per task of 4 steps "
        f"and judge ({parts}; target {TARGET_MS:g}), "
        f"{count / elapsed * 60:.0f} tasks/min"
    )
    gaps = _gaps(tasks)
    print(f"  next step in the same worker, all threads busy: {_percentiles(gaps)}")


def _print_idle(count: int) -> None:
    """Time from a hint to an idle worker until the step has started."""
    from tasks_app.models import Step

    waits, tasks = [], []
    for _ in range(count):
        task = _chain_of_four()
        _hint(1)
        _wait_until_ended([task])
        tasks.append(task)
        first: Any = Step.objects.get(task=task, step_id="a")
        waits.append((first.started_at - first.ready_at).total_seconds() * 1000)
        # Into any phase of the worker's own rhythm.
        time.sleep(random.uniform(0, 0.1))  # noqa: S311  # not a secret
    gaps = _percentiles(_gaps(tasks))
    print(f"next step in the same worker, one task at a time: {gaps} (target p50 5)")
    print(f"hand-off to an idle worker: {_percentiles(waits)} (target p50 60, p95 120)")


def _chain_of_four() -> Any:
    from tests.builders import make_planned_task, make_step

    return make_planned_task(
        make_step("a"),
        make_step("b", depends_on=("a",)),
        make_step("c", depends_on=("b",)),
        make_step("d", depends_on=("c",)),
    )


def _hint(count: int) -> None:
    from tasks_app.hints import Hints, send_hints

    send_hints("default", Hints(count=count))


def _wait_for_worker() -> None:
    from octollm.resilience.models import Worker
    from tests.waiting import wait_until

    wait_until(Worker.objects.exists, timeout_s=60)


def _wait_until_ended(tasks: list[Any]) -> None:
    from tasks_app.models import Task
    from tests.waiting import wait_until

    open_tasks = Task.objects.filter(
        pk__in=[task.pk for task in tasks], finished_at__isnull=True
    )
    wait_until(lambda: not open_tasks.exists(), timeout_s=600, interval_s=0.1)


def _gaps(tasks: list[Any]) -> list[float]:
    """Return the milliseconds between the end of a step and the start of the next."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM n.started_at - p.finished_at) * 1000 "
            "FROM steps n JOIN steps p ON p.task_id = n.task_id "
            "AND p.step_id = n.depends_on[1] AND p.worker = n.worker "
            "WHERE n.kind = 'work' AND n.task_id = ANY(%s)",
            [[task.pk for task in tasks]],
        )
        return [float(row[0]) for row in cursor.fetchall()]


def _percentiles(values: list[float]) -> str:
    p95 = statistics.quantiles(values, n=20)[-1]
    return f"p50 {statistics.median(values):.1f} ms, p95 {p95:.1f} ms"


def _cpu_ms(worker: int, home: Path) -> dict[str, float]:
    """Return the CPU time so far of the worker, PostgreSQL and Valkey, in ms."""
    processes = list(_processes())
    roots = {"worker": {worker}, "postgres": set(), "valkey": set()}
    for pid, _, command, _ in processes:
        for name in ("postgres", "valkey"):
            if str(home) in command and name in command:
                roots[name].add(pid)
    return {name: _tree_ms(processes, pids) for name, pids in roots.items()}


def _tree_ms(
    processes: list[tuple[int, int, str, float]], roots: Iterable[int]
) -> float:
    members = set(roots)
    while (
        grown := {pid for pid, parent, *_ in processes if parent in members} - members
    ):
        members |= grown
    return sum(ms for pid, _, _, ms in processes if pid in members)


def _processes() -> Iterable[tuple[int, int, str, float]]:
    """Yield pid, parent, command line, and CPU ms with that of ended children."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        ticks = sum(int(stat[i]) for i in (11, 12, 13, 14))
        yield int(entry.name), int(stat[1]), command, ticks * 1000 / TICKS_PER_S


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tasks", type=int, default=300, help="per round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--handoffs", type=int, default=60)
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
