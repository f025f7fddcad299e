"""What a scrape of the metrics asks: how much work is open, and how old it is."""

from __future__ import annotations

from collections.abc import Iterable

import dramatiq
from django.db import connection
from dramatiq.brokers.redis import RedisBroker
from prometheus_client import Metric

from octollm.metrics import gauge

_OPEN_STEPS = """
SELECT queue, status, count(*),
       COALESCE(max(extract(epoch FROM clock_timestamp() - ready_at)), 0)
FROM steps WHERE status IN ('ready', 'running') GROUP BY queue, status
"""


def collect() -> Iterable[Metric]:
    """Return gauges of ready and running steps and of the queues' messages."""
    counts: dict[str, dict[str, float]] = {"ready": {}, "running": {}}
    oldest: dict[str, float] = {}
    with connection.cursor() as cursor:
        cursor.execute(_OPEN_STEPS)
        for queue, status, count, age_s in cursor.fetchall():
            counts[status][queue] = float(count)
            if status == "ready":
                oldest[queue] = float(age_s)
    return [
        gauge(
            "octollm_steps_ready",
            "Steps that wait for a worker.",
            counts["ready"],
            label="queue",
        ),
        gauge(
            "octollm_steps_running",
            "Steps that a worker holds.",
            counts["running"],
            label="queue",
        ),
        gauge(
            "octollm_step_ready_seconds_max",
            "How long the oldest ready step has waited.",
            oldest,
            label="queue",
        ),
        gauge(
            "octollm_queue_messages",
            "Hints in the queue.",
            _messages(),
            label="queue",
        ),
    ]


def _messages() -> dict[str, float]:
    broker = dramatiq.get_broker()
    if not isinstance(broker, RedisBroker):
        return {}
    return {
        queue: float(broker.client.llen(f"{broker.namespace}:{queue}"))
        for queue in sorted(broker.get_declared_queues())
    }
