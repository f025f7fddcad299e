"""The command lines of the long-running programs, and what they need to know."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

WORKER_QUEUES = ("default", "sandbox")
DEFAULT_SHUTDOWN_S = 20.0


def web_command(
    *, host: str, port: int, workers: int = 2, threads: int = 4
) -> list[str]:
    """Return the web process's command line."""
    return wsgi_command(
        "octollm.wsgi:application",
        host=host,
        port=port,
        workers=workers,
        threads=threads,
    )


def wsgi_command(
    application: str, *, host: str, port: int, workers: int, threads: int
) -> list[str]:
    """Return granian's command line for a WSGI application."""
    options = {
        "interface": "wsgi",
        "host": host,
        "port": port,
        "workers": workers,
        # Set, since its default follows the CPUs and each thread keeps a connection.
        "blocking-threads": threads,
        # A thread that ends takes its database connection along.
        "blocking-threads-idle-timeout": 600,
        # It may ignore a SIGTERM while its workers start.
        "workers-kill-timeout": 10,
    }
    flags = ["--no-ws", "--respawn-failed-workers", "--log-level=warning"]
    return [
        sys.executable,
        "-m",
        "granian",
        *(f"--{name}={value}" for name, value in options.items()),
        *flags,
        application,
    ]


def worker_command(
    *, queues: Sequence[str] = WORKER_QUEUES, threads: int = 4
) -> list[str]:
    """Return Dramatiq's command line: one process, for a killed one ends its siblings."""
    return [
        sys.executable,
        "-m",
        "dramatiq",
        "django_dramatiq.setup",
        "tasks_app.actors",
        "--processes=1",
        f"--threads={threads}",
        f"--worker-shutdown-timeout={int(_shutdown_s() * 1000)}",
        # Django configures logging.
        "--skip-logging",
        "--queues",
        *queues,
    ]


def worker_environment(*, threads: int = 4) -> dict[str, str]:
    """Return what Dramatiq reads from the environment when it is imported."""
    return {
        # An idle worker looks again after 0.1 s, not after 1 s.
        "dramatiq_worker_timeout": "100",
        # With a prefetch of 1, four threads would run one message at a time.
        "dramatiq_queue_prefetch": str(threads),
    }


def become(command: list[str]) -> NoReturn:
    """Replace this process, so that signals reach the program itself."""
    sys.stdout.flush()
    os.execv(command[0], command)  # noqa: S606  # our own interpreter, no shell


def _shutdown_s() -> float:
    """Return how long Dramatiq waits for its threads: 10 minutes by its own default.

    The setting of the same name, read here too: a command line is made before Django.
    """
    return float(os.environ.get("OCTOLLM_SHUTDOWN_S") or DEFAULT_SHUTDOWN_S)
