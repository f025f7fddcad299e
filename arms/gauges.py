"""What a scrape of the metrics asks of the registry: who is up, how fast, how full."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from prometheus_client import Metric
from prometheus_client.core import GaugeMetricFamily

from arms.registry import IN_PROCESS, TAKES_STEPS
from arms.registry_models import ArmInstance
from arms.standing import BreakerState, Places, breakers_of, places_of
from octollm.resilience.models import Breaker

State = ArmInstance.State
_PLACE = ["arm", "instance"]


def collect() -> Iterable[Metric]:
    """Return gauges of all instances, in three queries however many there are."""
    rows = list(ArmInstance.objects.defer("token", "detail"))
    breakers, places = breakers_of(rows), places_of(rows)
    return [*_of_instances(rows, breakers), *_of_arms(rows, places)]


def _of_instances(
    rows: Sequence[ArmInstance], breakers: Mapping[UUID, BreakerState]
) -> Iterable[Metric]:
    up = _family("up", "Whether an instance takes steps: 1, else 0.", _PLACE)
    states = _family(
        "instance_state", "Which state an instance is in.", [*_PLACE, "state"]
    )
    latency = _family(
        "probe_seconds", "Time of an instance's checks, a moving average.", _PLACE
    )
    is_open = _family(
        "breaker_open",
        "Whether an instance's breaker lets no call through, or only one to find out.",
        _PLACE,
    )
    for row in rows:
        place = [row.arm_id, row.location]
        up.add_metric(place, float(_is_up(row)))
        for state in State.values:
            states.add_metric([*place, state], float(state == row.state))
        if row.latency_ms is not None:
            latency.add_metric(place, row.latency_ms / 1000)
        breaker = breakers.get(row.pk)
        is_closed = breaker is None or breaker.state == Breaker.State.CLOSED
        is_open.add_metric(place, float(not is_closed))
    return [up, states, latency, is_open]


def _of_arms(
    rows: Iterable[ArmInstance], places: Mapping[UUID, Places]
) -> Iterable[Metric]:
    """Add up the places of each arm; of one without a limit there are none."""
    taken: dict[str, int] = defaultdict(int)
    free: dict[str, int] = defaultdict(int)
    for row in rows:
        if found := places.get(row.pk):
            taken[row.arm_id] += found.taken
            # Nobody gets those of an instance that is away.
            free[row.arm_id] += found.free if _is_up(row) else 0
    return [
        _filled("places_taken", "Steps that hold a place at an arm.", taken),
        _filled("places_free", "Free places at instances that take steps.", free),
    ]


def _is_up(row: ArmInstance) -> bool:
    is_unchecked = row.location == IN_PROCESS and row.state == State.STARTING
    return is_unchecked or row.state in TAKES_STEPS


def _family(name: str, text: str, labels: Sequence[str]) -> Any:
    return GaugeMetricFamily(f"octollm_arm_{name}", text, labels=labels)


def _filled(name: str, text: str, values: Mapping[str, int]) -> Metric:
    family: Metric = _family(name, text, ["arm"])
    for arm, count in values.items():
        family.add_sample(family.name, {"arm": arm}, float(count))
    return family
