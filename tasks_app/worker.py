"""What runs in a worker process beside its threads."""

from __future__ import annotations

import dramatiq


class WorkerMiddleware(dramatiq.Middleware):
    """Start and stop the process's own threads with the worker."""
