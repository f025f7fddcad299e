"""Callers of the planner in a process of their own, for tests of what they share.

``python -m tests.planner.callers DIRECTORY COUNT``: says by a file that it is ready,
waits for the file ``go``, plans in so many threads and writes what came of it.
"""

from __future__ import annotations

import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.waiting import wait_until


def call(_: int = 0) -> dict[str, Any]:
    """Plan once; return the source and the steps of the plan, or an error's code."""
    from django.db import connections

    from octollm.errors import OctoLLMError
    from tests.planner.cache_cases import planned

    try:
        plan = planned(timeout_s=60)
        return {"source": plan.source, "steps": [s.capability for s in plan.steps]}
    except OctoLLMError as error:
        return {"code": error.code}
    finally:
        connections.close_all()


def call_at_once(count: int) -> list[dict[str, Any]]:
    """Plan in so many threads."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(call, range(count)))


def results(directory: Path) -> list[dict[str, Any]]:
    """Return what the processes of a directory have written so far."""
    written = directory.glob("result.*")
    return [each for path in written for each in json.loads(path.read_text())]


def ready(directory: Path) -> int:
    """Return how many processes are ready."""
    return len(list(directory.glob("ready.*")))


def main() -> None:
    """Wait, plan, write."""
    import django

    directory, count = Path(sys.argv[1]), int(sys.argv[2])
    django.setup()
    # What takes a second at the first call is not what is tested.
    import openai  # noqa: F401

    (directory / f"ready.{os.getpid()}").touch()
    wait_until((directory / "go").exists, interval_s=0.01)
    found = json.dumps(call_at_once(count))
    partial = directory / f"partial.{os.getpid()}"
    partial.write_text(found)
    partial.rename(directory / f"result.{os.getpid()}")


if __name__ == "__main__":
    main()
