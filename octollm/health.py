"""Whether this process can do its work: asked by ``/ready``.

Each check runs in a thread of its own with its own time-out, so that a server that
accepts and never answers cannot hold the probe. A check that still hangs is not
started again: there is at most one thread per check.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from django.db import connection, connections
from django.db.migrations.executor import MigrationExecutor
from django.utils.module_loading import import_string

from octollm.resilience import redis_client

logger = logging.getLogger(__name__)

Check = Callable[[], bool | tuple[bool, str]]


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """How one check went.

    ``detail`` says why it failed, and nothing of secrets; ``note`` is what one that
    passes has to say.
    """

    name: str
    is_ready: bool
    detail: str
    duration_ms: float
    note: str = ""


class _Probe:
    """One check, asked by any number of callers and run once at a time."""

    def __init__(self, name: str, path: str, timeout_s: float) -> None:
        self.name = name
        self._path = path
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._run: _Run | None = None

    def run(self) -> _Run:
        """Return the run that is under way, or one that starts now."""
        with self._lock:
            if self._run is None or not self._run.is_alive():
                self._run = _Run(self.name, self._path, self._timeout_s)
                self._run.start()
            return self._run


class _Run(threading.Thread):
    """One execution of a check; daemonic, so a hanging one ends with the process."""

    def __init__(self, name: str, path: str, timeout_s: float) -> None:
        super().__init__(name=f"ready-{name}", daemon=True)
        self._check = name
        self._path = path
        self._timeout_s = timeout_s
        self._fault = self._note = ""
        self._began = time.monotonic()
        self._finished: float | None = None

    def run(self) -> None:
        try:
            check: Check = import_string(self._path)
            outcome = check()
            is_ready, why = outcome if isinstance(outcome, tuple) else (outcome, "")
            self._fault = "" if is_ready else why or "not ready"
            self._note = why if is_ready else ""
        except Exception as error:
            logger.warning("The readiness check %s failed", self._check, exc_info=True)
            self._fault = f"failed: {type(error).__name__}"
        finally:
            connections.close_all()
            self._finished = time.monotonic()

    def result(self) -> CheckResult:
        """Wait for the outcome until the check's time is over."""
        self.join(max(0.0, self._began + self._timeout_s - time.monotonic()))
        ended = self._finished
        detail = self._fault if ended else f"no answer within {self._timeout_s:g} s"
        return CheckResult(
            name=self._check,
            is_ready=not detail,
            detail=detail,
            note=self._note,
            duration_ms=round(((ended or time.monotonic()) - self._began) * 1000, 1),
        )


_probes: dict[str, _Probe] = {}


def register(name: str, path: str, *, timeout_s: float = 2.0) -> None:
    """Have ``/ready`` ask the function of that dotted path.

    It takes nothing and says whether its part is ready, or that and why not, or that
    and what else is to be said; an exception means no, and only its type is shown.
    ``/ready`` is open to everybody. Registering a name again replaces it.
    """
    _probes[name] = _Probe(name, path, timeout_s)


def check_all() -> list[CheckResult]:
    """Run all checks side by side and return their results by name."""
    runs = [probe.run() for _, probe in sorted(_probes.items())]
    return [run.result() for run in runs]


def is_database_ready() -> bool:
    """Say whether the database takes a new connection and answers on it."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return bool(cursor.fetchone() == (1,))


def is_redis_ready() -> bool:
    """Say whether Redis answers."""
    return bool(redis_client.client().ping())


_migrated = threading.Event()


def are_migrations_applied() -> bool:
    """Say whether the schema is the code's; asked until it is, as it stays so."""
    if not _migrated.is_set():
        executor = MigrationExecutor(connection)
        if executor.migration_plan(executor.loader.graph.leaf_nodes()):
            return False
        _migrated.set()
    return True
