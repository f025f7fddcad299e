"""What Dramatiq tells us of a worker's life.

Loaded while Django's apps are still being set up, so models are imported later.
"""

from __future__ import annotations

import dramatiq


class WorkerMiddleware(dramatiq.Middleware):
    """Start and stop the process's own threads with the worker's."""

    def after_worker_boot(
        self, broker: dramatiq.Broker, worker: dramatiq.Worker
    ) -> None:
        """Begin, once the queues are known."""
        from octollm.embedded import tether
        from tasks_app.worker import this_worker

        tether.hold()
        queues = sorted(worker.consumer_whitelist or broker.get_declared_queues())
        this_worker().heed_signals()
        this_worker().start(queues=queues, threads=worker.worker_threads)

    def before_worker_shutdown(
        self, broker: dramatiq.Broker, worker: dramatiq.Worker
    ) -> None:
        """Claim nothing more."""
        from tasks_app.worker import this_worker

        this_worker().stop()

    def after_worker_shutdown(
        self, broker: dramatiq.Broker, worker: dramatiq.Worker
    ) -> None:
        """Leave, after the threads have ended."""
        from tasks_app.worker import this_worker

        this_worker().leave()
