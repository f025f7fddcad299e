"""What planning costs besides the model: ``python -m tests.planner.cache_bench``.

Engines of its own (PostgreSQL without fsync, Valkey as in production), a model
server in this process that answers at once, and an owner with documents. Takes
about half a minute; the figures are those of this machine as busy as it is.
"""

from __future__ import annotations

import contextlib
import os
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID, uuid4

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django
from django.conf import settings
from django.test.utils import (
    override_settings,
    setup_databases,
    setup_test_environment,
    teardown_databases,
)

ROUNDS = 500
DOCUMENTS = 200


def main() -> None:
    """Measure and print."""
    django.setup()
    setup_test_environment()
    from tests import fakes
    from tests.planner.cache_cases import GOOD, planned

    with cache_engines(), fakes.FakeModel() as model:
        model.default = fakes.completion(GOOD)
        with override_settings(
            OCTOLLM_LLM_BASE_URL=model.base_url,
            OCTOLLM_LLM_MODEL="fake-model",
            OCTOLLM_PLAN_CACHE_TTL_S=3600.0,
        ):
            planned()
            _print_hits("cache hit, no owner", {})
            _print_hits(f"cache hit, {DOCUMENTS} documents", {"scope": _owner()})
            _print_planning(_owner())
            _print_hang()
        _print_recipes()


@contextlib.contextmanager
def cache_engines() -> Iterator[None]:
    """Start engines and make a database; all of it goes at the end."""
    from octollm.resilience import outbound
    from tests.engines import running_engines

    with running_engines():
        databases = setup_databases(verbosity=0, interactive=False)
        try:
            yield
        finally:
            outbound.shutdown()
            teardown_databases(databases, verbosity=0)


def _owner() -> UUID:
    """Make an owner of documents, some of which the goal means."""
    from arms.knowledge.documents import NewDocument, ingest_all

    scope = uuid4()
    documents = [
        NewDocument(collection="reviews", text=f"Product review number {n}: it works.")
        for n in range(DOCUMENTS)
    ]
    ingest_all(scope, documents)
    return scope


def _print_hits(name: str, options: dict[str, UUID]) -> None:
    from tests.planner.cache_cases import planned

    scope = options.get("scope")
    assert planned(knowledge_scope=scope).source in ("model", "cache")
    timings, sources = _timed(lambda _: planned(knowledge_scope=scope).source)
    assert set(sources) == {"cache"}
    _print(name, timings, target_ms=5)


def _print_planning(scope: UUID) -> None:
    from tests.planner.cache_cases import OPEN_GOAL, planned

    timings, sources = _timed(
        lambda n: planned(goal=f"{OPEN_GOAL} {n}", knowledge_scope=scope).source,
        rounds=ROUNDS // 2,
    )
    assert set(sources) == {"model"}
    _print("planning, model answers at once", timings, target_ms=100)


def _print_recipes() -> None:
    from tests.planner.cache_cases import RECIPE_GOAL, planned

    timings, sources = _timed(lambda _: planned(goal=RECIPE_GOAL).source)
    assert set(sources) == {"recipe"}
    _print("recipe, no model configured", timings)


def _print_hang() -> None:
    """What a Valkey that hangs costs the first plan and the next ones."""
    from tests.planner.cache_cases import planned, private_valkey

    with private_valkey() as (url, pid), override_settings(REDIS_URL=url):
        planned()
        os.kill(pid, signal.SIGSTOP)
        timings, _ = _timed(lambda _: planned().source, rounds=4, is_sorted=False)
        os.kill(pid, signal.SIGCONT)
    shown = ", ".join(f"{each * 1000:.0f}" for each in timings)
    sys.stdout.write(f"plans while Valkey hangs, one after the other: {shown} ms\n")


def _timed(
    act: Callable[[int], Any], *, rounds: int = ROUNDS, is_sorted: bool = True
) -> tuple[list[float], list[Any]]:
    """Return the seconds of each round and what each returned."""
    timings, found = [], []
    for number in range(rounds):
        started = time.perf_counter()
        found.append(act(number))
        timings.append(time.perf_counter() - started)
    return (sorted(timings) if is_sorted else timings), found


def _print(name: str, timings: list[float], *, target_ms: float | None = None) -> None:
    median_ms = statistics.median(timings) * 1000
    p95_ms = timings[int(len(timings) * 0.95)] * 1000
    target = f" (target p95 {target_ms:g})" if target_ms else ""
    sys.stdout.write(f"{name}: p50 {median_ms:.2f} ms, p95 {p95_ms:.2f} ms{target}\n")


if __name__ == "__main__":
    assert settings is not None
    main()
