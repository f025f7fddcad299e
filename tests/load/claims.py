"""Print how long a claim takes in front of backlogs that nobody may start.

``python -m tests.load.claims [--steps 10000] [--owners 1000]``. Private engines.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django
from django.db import connection, transaction
from django.test.utils import setup_databases, teardown_databases

ROUNDS = 50
DEFAULT = ("default",)


def main() -> None:
    """Start the engines, fill the table bit by bit, measure, print."""
    options = _options()
    django.setup()
    from tests.engines import running_engines

    with running_engines():
        databases = setup_databases(verbosity=0, interactive=False)
        try:
            _measure_all(options.steps, options.owners)
        finally:
            teardown_databases(databases, verbosity=0)


def _measure_all(steps: int, others: int) -> None:
    from octollm.access import owners
    from tests.backlog import fill
    from tests.builders import make_owner

    _print("nothing is ready")
    large, small = make_owner(), make_owner()
    fill(large, steps, priority="critical")
    _print(f"{steps} of one owner, before statistics were gathered")
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    _print(f"{steps} of one owner")
    fill(small, 1, priority="low")
    owners.stop(large, by="bench")
    _print(f"1 of another behind {steps} of a stopped owner")
    owners.start(large, by="bench")
    owners.limit(large, 3)
    for _ in range(3):
        _claim()
    _print(f"1 of another behind {steps} of an owner at its limit")
    for _ in range(others):
        fill(make_owner(), 1, priority="low")
    _print(f"the same, and {others} owners with 1 each")


def _print(what: str) -> None:
    from tasks_app.claims import has_ready

    def claim() -> None:
        with transaction.atomic():
            _claim()
            transaction.set_rollback(True)

    print(f"{what}:")
    print(f"  claim {_timed(claim)}, has_ready {_timed(lambda: has_ready(DEFAULT))}")


def _claim() -> None:
    from tasks_app.claims import claim_next

    claim_next(DEFAULT, worker="bench")


def _timed(act: Callable[[], object]) -> str:
    taken = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        act()
        taken.append((time.perf_counter() - began) * 1000)
    p95 = statistics.quantiles(taken, n=20)[-1]
    return f"p50 {statistics.median(taken):.1f} ms, p95 {p95:.1f} ms"


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=10_000, help="of the backlog")
    parser.add_argument("--owners", type=int, default=1_000, help="beside it")
    return parser.parse_args(sys.argv[1:])


if __name__ == "__main__":
    main()
