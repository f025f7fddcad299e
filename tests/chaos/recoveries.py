"""How long the steps of a killed worker waited until somebody went on with them."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from django.db import connection

from tests.chaos.fleet import Blow

# What the killed worker held, and when the same step was started next, if ever.
_HELD = """
SELECT a.outcome, s.step_id, s.task_id, a.finished_at, n.started_at
FROM attempts a
JOIN steps s ON s.id = a.step_id
LEFT JOIN LATERAL (
    SELECT started_at FROM attempts later
    WHERE later.step_id = a.step_id AND later.id > a.id ORDER BY later.id LIMIT 1
) n ON true
WHERE split_part(a.worker, ':', 2)::int = ANY(%(pids)s)
AND a.started_at < %(at)s AND (a.finished_at IS NULL OR a.finished_at > %(at)s)
ORDER BY a.id
"""


@dataclass(frozen=True, kw_only=True)
class Recovery:
    """One step that a killed worker held.

    Attributes:
        outcome: of the attempt that was cut off.
        noticed_s: from the kill until it was ended in the attempt's place.
        resumed_s: from the kill to the next start; ``None`` when there was none.
    """

    step: str
    outcome: str
    noticed_s: float | None
    resumed_s: float | None


def recoveries_of(blow: Blow) -> list[Recovery]:
    """Return what became of the steps that a killed worker held."""
    at = datetime.fromtimestamp(blow.at, UTC)
    with connection.cursor() as cursor:
        cursor.execute(_HELD, {"pids": list(blow.pids), "at": at})
        return [
            Recovery(
                step=f"{step_id} of {task_id}",
                outcome=outcome,
                noticed_s=noticed and (noticed - at).total_seconds(),
                resumed_s=resumed and (resumed - at).total_seconds(),
            )
            for outcome, step_id, task_id, noticed, resumed in cursor.fetchall()
        ]


def p95(values: Sequence[float]) -> float:
    """Return the 95th of each hundred values, by the nearest rank: of 20 the 19th."""
    return sorted(values)[-(-95 * len(values) // 100) - 1]


def percentiles(seconds: Sequence[float]) -> str:
    """Say how values are spread: the middle, the 95th of each hundred, the largest."""
    if not seconds:
        return "none"
    return (
        f"p50 {statistics.median(seconds):.2f} s, p95 {p95(seconds):.2f} s, "
        f"max {max(seconds):.2f} s ({len(seconds)} of them)"
    )
