"""How arms are altogether, for callers of the API; asks no instance elsewhere.

What probes and calls found stands in the registry's rows, so a page of all arms costs
as many queries as that of one. Only arms of this process check themselves.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from arms import health
from arms.contract import ArmSpec
from arms.operating import SET_ASIDE
from arms.registry import IN_PROCESS, local_catalogue
from arms.registry_models import ArmInstance, RegisteredArm
from arms.standing import CLOSED, BreakerState, Places, breakers_of, places_of
from octollm.resilience.models import Breaker

State = ArmInstance.State
# Those of an arm; what an operator sets aside are instances.
STATES = [
    state.value for state in (State.HEALTHY, State.DEGRADED, State.DOWN, State.STARTING)
]
_NOT_ASKED = "Calls of it failed: its breaker is open."


@dataclass(frozen=True, kw_only=True)
class InstanceOverview:
    """One place where an arm runs, and how it stands.

    Attributes:
        now: whether it gets steps, as one of the states: an open breaker counts as
            ``down``, and this process checks itself.
        why: in words, if it is not well.
    """

    row: ArmInstance
    version: str
    breaker: BreakerState
    places: Places
    now: str
    why: str


@dataclass(frozen=True, kw_only=True)
class ArmHealth:
    """How an arm is; ``source`` is ``self-check`` or ``probe``."""

    state: str
    source: str
    detail: str
    checked_at: datetime | None

    @property
    def is_well(self) -> bool:
        """Whether it takes steps."""
        return self.state in (State.HEALTHY, State.DEGRADED)


@dataclass(frozen=True, kw_only=True)
class ArmOverview:
    """An arm with its instances.

    Attributes:
        concurrency: how many steps each instance takes at once; nothing: any number.
    """

    spec: ArmSpec
    concurrency: int | None
    health: ArmHealth
    instances: Sequence[InstanceOverview]


def view_arms(specs: Collection[ArmSpec]) -> list[ArmOverview]:
    """Return how these arms are, in their order, in a fixed number of queries."""
    names = [spec.name for spec in specs]
    limits = dict(
        RegisteredArm.objects.filter(pk__in=names).values_list("name", "limit")
    )
    rows = list(ArmInstance.objects.filter(arm_id__in=names).defer("token"))
    standing = _Standing(rows)
    by_arm: dict[str, list[ArmInstance]] = defaultdict(list)
    for row in rows:
        by_arm[row.arm_id].append(row)
    local = {spec.name for spec in local_catalogue()}
    return [
        _view(
            spec,
            by_arm[spec.name],
            standing,
            is_local=spec.name in local,
            limit=limits.get(spec.name),
        )
        for spec in specs
    ]


def aggregate(states: Iterable[str]) -> str:
    """Return how an arm is whose instances are so.

    What an operator has set aside does not count: a drained instance beside a healthy
    one makes nobody worry.
    """
    counted = {state for state in states if state not in SET_ASIDE}
    if counted & {State.HEALTHY, State.DEGRADED}:
        is_well = counted <= {State.HEALTHY, State.STARTING}
        return State.HEALTHY.value if is_well else State.DEGRADED.value
    return State.STARTING.value if State.STARTING in counted else State.DOWN.value


class _Standing:
    """Breakers and places of many instances."""

    def __init__(self, rows: Collection[ArmInstance]) -> None:
        self.breakers = breakers_of(rows)
        self.places = places_of(rows)


def _view(
    spec: ArmSpec,
    rows: Iterable[ArmInstance],
    standing: _Standing,
    *,
    is_local: bool,
    limit: int | None,
) -> ArmOverview:
    instances = [_instance(row, spec, standing) for row in rows]
    return ArmOverview(
        spec=spec,
        concurrency=limit or spec.concurrency,
        health=_local_health(spec, instances) if is_local else _health(instances),
        instances=instances,
    )


def _instance(row: ArmInstance, spec: ArmSpec, standing: _Standing) -> InstanceOverview:
    breaker = standing.breakers.get(row.pk, CLOSED)
    now, why = through(breaker, row.state, row.detail)
    return InstanceOverview(
        row=row,
        version=spec.version if row.location == IN_PROCESS else row.version,
        breaker=breaker,
        places=standing.places.get(row.pk, Places()),
        now=now,
        why=why,
    )


def through(breaker: BreakerState, state: str, detail: str = "") -> tuple[str, str]:
    """Return how an instance is behind its breaker, and why."""
    is_well = state in (State.HEALTHY, State.DEGRADED)
    if breaker.state == Breaker.State.CLOSED or not is_well:
        return state, detail
    if breaker.state == Breaker.State.OPEN and breaker.until is not None:
        return State.DOWN.value, _NOT_ASKED
    return State.DEGRADED.value, detail


def _health(instances: Sequence[InstanceOverview]) -> ArmHealth:
    state = aggregate(each.now for each in instances)
    checked = [each.row.checked_at for each in instances if each.row.checked_at]
    return ArmHealth(
        state=state,
        source="probe",
        detail="" if state == State.HEALTHY else _why(instances),
        checked_at=max(checked, default=None),
    )


def _local_health(spec: ArmSpec, instances: Sequence[InstanceOverview]) -> ArmHealth:
    """Return how an arm of this process is, which checks itself, and its services."""
    found, checked_at = health.check(spec.name)
    here = State.HEALTHY.value if found.is_healthy else State.DOWN.value
    detail = found.detail
    others = []
    for each in instances:
        if each.row.location != IN_PROCESS:
            others.append(each)
        elif each.now in SET_ASIDE:
            here, detail = each.now, each.why
    state = aggregate([here, *(each.now for each in others)])
    return ArmHealth(
        state=state,
        source="self-check",
        detail=detail or ("" if state == State.HEALTHY else _why(others)),
        checked_at=checked_at,
    )


def _why(instances: Iterable[InstanceOverview]) -> str:
    """Return what is wrong with the first that is not well and says so."""
    unwell = [each for each in instances if each.now != State.HEALTHY]
    said = [each.why for each in unwell if each.why]
    return next(iter(said or (f"It is {each.now}." for each in unwell)), "")
