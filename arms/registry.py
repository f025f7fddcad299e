"""Which arms there are, where they run, and which of them are away.

The arms of this process are made here; all else is read from the registry's tables,
anew each second, so that what an operator or a probe changes reaches every process
within two. While the database is away what was read last counts.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache, partial
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error
from django.db.models import Case, Q, Value, When
from django.db.models.functions import Now
from django.utils.module_loading import import_string
from pydantic import ValidationError

from arms import remote
from arms.contract import Arm, ArmSpec
from arms.entries import Entry
from arms.places import Place
from arms.registry_models import NOBODY, ArmInstance, RegisteredArm
from octollm.errors import ArmUnavailableError

logger = logging.getLogger(__name__)

IN_PROCESS = "in-process"
# How long a process takes what it read for the present.
FRESH_S = 1.0
# A self-check that failed longer ago says nothing any more: nobody looks after it.
KNOWN_FOR = timedelta(seconds=60)

_State = ArmInstance.State
# A plan may count on an arm that went down a moment ago: its steps wait for it.
AWAY_AFTER = timedelta(seconds=60)
# They may get steps. One in process that nobody has checked yet may, too.
TAKES_STEPS = frozenset({_State.HEALTHY, _State.DEGRADED})
# They answer for what they did, whether or not they get more.
ANSWERS = frozenset({*TAKES_STEPS, _State.STARTING, _State.DRAINING})


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A place where an arm runs, as the registry's row said a second ago.

    Attributes:
        places: how many steps it takes at once; nothing: no limit.
        is_passing: it is down, and has not been so for long.
        latency_s: of its health checks; nothing until the first.
        stand_in: the operator's word on its arm's fallback.
        token: as it is stored, encrypted.
    """

    id: UUID
    arm: str
    location: str
    state: str
    source: str
    weight: int = 10
    detail: str = ""
    is_passing: bool = False
    latency_s: float | None = None
    places: int | None = None
    stand_in: str = ""
    token: str = field(default="", repr=False)

    @property
    def is_here(self) -> bool:
        """Whether it is this process."""
        return self.location == IN_PROCESS

    @property
    def takes_steps(self) -> bool:
        """Whether it may get another step, as far as the row tells."""
        is_unchecked = self.is_here and self.state == _State.STARTING
        return is_unchecked or self.state in TAKES_STEPS

    @property
    def answers(self) -> bool:
        """Whether it can be asked what it did."""
        return self.state in ANSWERS


@dataclass(frozen=True, kw_only=True)
class _Snapshot:
    """What the tables said: instances by arm, entries of arms that are elsewhere."""

    instances: Mapping[str, tuple[Instance, ...]]
    specs: Mapping[str, ArmSpec]
    # Of which rows the entries are, so that they are read again only if one changed.
    of: frozenset[tuple[str, Any]]


_EMPTY = _Snapshot(instances={}, specs={}, of=frozenset())


@cache
def _arms() -> dict[str, Arm]:
    arms: list[Arm] = [import_string(path)() for path in settings.OCTOLLM_ARMS]
    return {arm.spec.name: arm for arm in sorted(arms, key=lambda arm: arm.spec.name)}


def catalogue() -> tuple[ArmSpec, ...]:
    """Return the catalogue entries of all arms, by name."""
    elsewhere = _read().specs
    if not elsewhere:
        return local_catalogue()
    by_name = {**elsewhere, **{spec.name: spec for spec in local_catalogue()}}
    return tuple(by_name[name] for name in sorted(by_name))


def local_catalogue() -> tuple[ArmSpec, ...]:
    """Return the catalogue entries of the arms that run in this process, by name."""
    return tuple(arm.spec for arm in _arms().values())


def spec_of(name: str) -> ArmSpec:
    """Return the catalogue entry of that name.

    Raises:
        ArmUnavailableError: there is none, or one elsewhere that nobody has reached.
    """
    if name in _arms():
        return _arms()[name].spec
    spec = _read().specs.get(name)
    if spec is None:
        message = f"No arm {name} runs here."
        if remote.is_named(name):
            message = f"The arm {name} has not been reached yet."
        raise ArmUnavailableError(message, arm_name=name)
    return spec


def fallback_of(name: str) -> str:
    """Return the arm that is taken while that one is away; empty: none.

    Raises:
        ArmUnavailableError: there is no entry of that name.
    """
    said = next((each.stand_in for each in instances_of(name)), "")
    return "" if said == NOBODY else said or spec_of(name).fallback


def get_arm(name: str) -> Arm:
    """Return the arm of that name: of this process, else some instance of it.

    Raises:
        ArmUnavailableError: there is none, or one elsewhere that nobody has reached.
    """
    if name in _arms():
        return _arms()[name]
    spec = spec_of(name)
    return arm_at(spec, instances_of(name)[0])


def arm_at(spec: ArmSpec, instance: Instance) -> Arm:
    """Return what calls an arm at one of its places."""
    if instance.is_here:
        return _arms()[instance.arm]
    from arms.client import RemoteArm  # the HTTP library, which few need

    place = Place(name=spec.name, url=instance.location, token=_token_of(instance))
    return RemoteArm(spec, place, is_gone=partial(is_gone, instance))


def instances_of(name: str) -> tuple[Instance, ...]:
    """Return the places where an arm runs, ≤ 1 s old; this process is always one."""
    found = _read().instances.get(name, ())
    is_local = name in _arms()
    if is_local and not any(each.is_here for each in found):
        here = Instance(
            id=UUID(int=0),
            arm=name,
            location=IN_PROCESS,
            state=_State.STARTING,
            source=ArmInstance.Source.IN_PROCESS,
        )
        return (here, *found)
    return found if is_local else tuple(each for each in found if not each.is_here)


def is_gone(instance: Instance) -> bool:
    """Tell whether a place was found down or taken out since; never reads anything."""
    if instance.is_here:
        return False
    present = {each.id: each for each in _cache.last.instances.get(instance.arm, ())}
    return instance.id not in present or not present[instance.id].answers


def away() -> Mapping[str, str]:
    """Return the arms that cannot be had now, each with the reason; ≤ 1 s old.

    An arm is away when none of its places takes steps or is about to, and the last has
    been down for a minute. One of which nothing is known is not, and none is when the
    database cannot tell.
    """
    _read()
    names = {*_arms(), *_cache.last.specs}
    return {name: _why(name) for name in sorted(names) if _is_away(name)}


def refresh() -> None:
    """Read the tables if what is known is old."""
    _read()


def forget() -> None:
    """Read the tables anew at the next look."""
    _cache.forget()


def _is_away(name: str) -> bool:
    return not any(
        each.takes_steps or each.is_passing or each.state == _State.STARTING
        for each in instances_of(name)
    )


def _why(name: str) -> str:
    said = [each.detail or f"It is {each.state}." for each in instances_of(name)]
    return said[0] if said else "It runs nowhere."


def token_of(instance: ArmInstance) -> str:
    """Return what a caller must show at an instance.

    Raises:
        VaultError: it was stored under a key that the settings do not hold.
    """
    return _token(instance.arm_id, instance.location, instance.source, instance.token)


def _token_of(instance: Instance) -> str:
    return _token(instance.arm, instance.location, instance.source, instance.token)


def _token(arm: str, location: str, source: str, stored: str) -> str:
    if source == ArmInstance.Source.SETTINGS:
        return remote.token_of(arm, location)
    return _decrypted(stored)


@cache
def _decrypted(stored: str) -> str:
    from arms.registration import decrypted  # it writes what is read here

    return decrypted(stored)


# What the tables say ---------------------------------------------------------------
class _Cache:
    """What was read, and until when it is the present."""

    def __init__(self) -> None:
        self.last = _EMPTY
        self._lock = threading.Lock()
        self._fresh_until = 0.0

    def read(self) -> _Snapshot:
        """Return what the tables said a second ago at most, if they can be read."""
        if not self._is_fresh():
            with self._lock:
                if not self._is_fresh():
                    self._refresh()
        return self.last

    def _is_fresh(self) -> bool:
        # An arm of the settings that nobody has reached is looked for each time.
        is_recent = time.monotonic() < self._fresh_until
        return is_recent and remote.names() <= self.last.specs.keys()

    def forget(self) -> None:
        with self._lock:
            self._fresh_until = 0.0
            self.last = _EMPTY

    def _refresh(self) -> None:
        try:
            self.last = _from_tables(self.last)
        except Error as error:
            # Plans that name an arm which is down are better than no plans.
            logger.warning("the registry could not be read: %s", type(error).__name__)
        self._fresh_until = time.monotonic() + FRESH_S


_cache = _Cache()


def _forget_parent() -> None:
    # Another thread of the parent may have held the lock at the fork.
    global _cache
    _cache = _Cache()


os.register_at_fork(after_in_child=_forget_parent)


def _read() -> _Snapshot:
    return _cache.read()


def _from_tables(last: _Snapshot) -> _Snapshot:
    rows = list(_instances())
    by_arm: dict[str, list[Instance]] = defaultdict(list)
    for row in rows:
        if _is_ours(row):
            by_arm[row["arm_id"]].append(_instance(row))
    of = frozenset(
        (row["arm_id"], row["arm__updated_at"])
        for row in rows
        if row["arm_id"] in by_arm and row["arm_id"] not in _arms()
    )
    return _Snapshot(
        instances={name: tuple(found) for name, found in by_arm.items()},
        specs=last.specs if of == last.of else _specs(name for name, _ in of),
        of=of,
    )


def _instances() -> Iterable[Any]:
    # A self-check that is too old counts as none.
    is_stale = When(
        location=IN_PROCESS,
        state=_State.DOWN,
        checked_at__lt=Now() - KNOWN_FOR,
        then=Value(_State.STARTING),
    )
    is_passing = Q(state=_State.DOWN, since__gt=Now() - AWAY_AFTER)
    found = ArmInstance.objects.annotate(
        now=Case(is_stale, default="state"), is_passing=is_passing
    ).order_by("arm_id", "location")
    rows: Iterable[Any] = found.values(
        *("id", "arm_id", "location", "now", "source", "weight", "detail"),
        *("is_passing", "latency_ms", "token"),
        *("arm__limit", "arm__concurrency"),
        *("arm__updated_at", "arm__stand_in"),
    )
    return rows


def _is_ours(row: Mapping[str, Any]) -> bool:
    """Leave out what other settings than this process's name."""
    if row["source"] != ArmInstance.Source.SETTINGS:
        return True
    return remote.names_place(row["arm_id"], row["location"])


def _instance(row: Mapping[str, Any]) -> Instance:
    latency_ms = row["latency_ms"]
    return Instance(
        id=row["id"],
        arm=row["arm_id"],
        location=row["location"],
        state=row["now"],
        source=row["source"],
        weight=row["weight"],
        detail=row["detail"],
        is_passing=row["is_passing"],
        latency_s=None if latency_ms is None else latency_ms / 1000,
        places=row["arm__limit"] or row["arm__concurrency"],
        stand_in=row["arm__stand_in"],
        token=row["token"],
    )


def _specs(names: Iterable[str]) -> Mapping[str, ArmSpec]:
    rows = RegisteredArm.objects.filter(pk__in=list(names)).exclude(capabilities=[])
    found = [_spec(row) for row in rows.values(*Entry.model_fields, "may_see")]
    return {spec.name: spec for spec in found if spec is not None}


def _spec(row: Mapping[str, Any]) -> ArmSpec | None:
    try:
        # What the settings say now counts before what they said when it was written.
        may_see = remote.sees().get(row["name"], row["may_see"])
        return Entry.model_validate(row).to_spec(may_see=may_see)
    except ValidationError:
        # Written by another version of this code; it is fetched again.
        logger.warning("the row of an arm elsewhere cannot be read")
        return None
