"""How instances stand, for whoever looks: breaker, places, last checks.

Each function asks the database once, however many instances there are.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from django.db import connection
from django.db.models import Count

from arms.registration import breaker_of, scope_of
from arms.registry_models import ArmInstance
from octollm.resilience.models import Breaker, Slot

# As many bars as a strip has.
STRIP = 60

_LAST_CHECKS = """
SELECT asked.id, last.at, last.source, last.is_healthy, last.latency_ms, last.detail
FROM unnest(%s::uuid[]) AS asked (id)
CROSS JOIN LATERAL (
    SELECT at, source, is_healthy, latency_ms, detail FROM health_checks
    WHERE instance_id = asked.id ORDER BY at DESC LIMIT %s
) AS last
ORDER BY last.at
"""


@dataclass(frozen=True, kw_only=True)
class BreakerState:
    """Whether an instance may be asked.

    Attributes:
        state: ``closed``, ``open`` or ``half_open``.
        until: when it may be asked again, if that is not now.
    """

    state: str = Breaker.State.CLOSED.value
    until: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Places:
    """How many steps an instance does at once, of those it may."""

    taken: int = 0
    all: int = 0

    @property
    def free(self) -> int:
        """How many more it takes."""
        return self.all - self.taken


@dataclass(frozen=True, kw_only=True)
class Check:
    """One probe, self-check or failed call of an instance."""

    at: datetime
    source: str
    is_healthy: bool
    latency_ms: float | None
    detail: str


CLOSED = BreakerState()


def breakers_of(instances: Iterable[ArmInstance]) -> Mapping[UUID, BreakerState]:
    """Return the breakers that are not closed and calm, by instance."""
    by_name = {breaker_of(each.arm_id, each.pk): each.pk for each in instances}
    rows = Breaker.objects.filter(name__in=by_name)
    return {by_name[row.name]: _state_of(row) for row in rows}


def places_of(instances: Iterable[ArmInstance]) -> Mapping[UUID, Places]:
    """Return the places of instances that have a limit, by instance."""
    by_scope = {scope_of(each.pk): each.pk for each in instances}
    counted = (
        Slot.objects.filter(scope__in=by_scope)
        .order_by()
        .values("scope")
        .annotate(all=Count("id"), taken=Count("holder"))
    )
    return {
        by_scope[row["scope"]]: Places(taken=row["taken"], all=row["all"])
        for row in counted
    }


def last_checks(
    instance_ids: Iterable[UUID], count: int = STRIP
) -> Mapping[UUID, list[Check]]:
    """Return the last checks of each instance, the oldest first."""
    found: dict[UUID, list[Check]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_LAST_CHECKS, [list(instance_ids), count])
        for pk, at, source, is_healthy, latency_ms, detail in cursor.fetchall():
            check = Check(
                at=at,
                source=source,
                is_healthy=is_healthy,
                latency_ms=latency_ms,
                detail=detail,
            )
            found[pk].append(check)
    return found


def _state_of(row: Breaker) -> BreakerState:
    moments = [row.retry_at]
    if row.state != Breaker.State.CLOSED:
        moments.append(row.open_until)
    now = datetime.now(UTC)
    until = max((each for each in moments if each and each > now), default=None)
    return BreakerState(state=row.state, until=until)
