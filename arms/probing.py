"""Look after instances: who is there, what they say of themselves, how they are.

One worker at a time does it, the holder of the row ``leaders('prober')``. Each instance
elsewhere is asked every ten seconds, all that are due at once on the outbound loop, so
that one that says nothing holds up no other.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q
from django.db.models.functions import Now

from arms import health, registration, registry, remote
from arms.entries import Entry, read_entry
from arms.health import Finding
from arms.places import Place
from arms.registry_models import ArmInstance, HealthCheck
from octollm.errors import OctoLLMError
from octollm.resilience import outbound
from octollm.resilience.deadline import StopToken

logger = logging.getLogger(__name__)

# How often it is looked who is due.
INTERVAL_S = 1.0
TIMEOUT_S = 2.0
# Nobody waits longer than this for a round, whatever the loop does.
ROUND_S = 10.0
JITTER = 0.2
# How old an entry may get before it is fetched again.
ENTRY_S = 30.0
# How often settings, heartbeats and the history are looked after.
HOUSEKEEPING_S = 10.0
MAX_HEALTH_BYTES = 65_536
MAX_HISTORY_ROWS = 2_000
GONE_AFTER = timedelta(days=1)
_WELL = frozenset({"healthy", "ok", "up", "pass", "well"})
_SO_SO = frozenset({"degraded", "warn", "warning"})

_SILENT = Finding(is_well=False, detail="It did not answer.")
_State = ArmInstance.State
_random = random.Random()  # noqa: S311  # spreads probes, guards nothing

_TRIM = """
DELETE FROM health_checks WHERE id IN (
    SELECT id FROM health_checks WHERE at < clock_timestamp() - %(age)s
    ORDER BY at LIMIT %(most)s
)
"""


@dataclass
class Prober:
    """What the leader remembers between its looks; a new one begins without."""

    _entries_at: dict[UUID, float] = field(default_factory=dict)
    _kept_at: float = float("-inf")

    def tick(self) -> None:
        """Look after all that is due; one that fails is looked at again later."""
        now = time.monotonic()
        if now - self._kept_at >= HOUSEKEEPING_S:
            self._kept_at = now
            _keep_house()
        due = list(_due())
        elsewhere = [each for each in due if each.location != registry.IN_PROCESS]
        _put_off(due)
        if elsewhere:
            self._probe_all(elsewhere)
        here = [each.arm_id for each in due if each.location == registry.IN_PROCESS]
        if here:
            health.check_arms(here)

    def _probe_all(self, instances: Sequence[ArmInstance]) -> None:
        looks = [self._look(each) for each in instances]
        found = outbound.run(_gathered(looks), stop=StopToken(ROUND_S))
        for instance, look in zip(instances, found, strict=True):
            finding = look.finding
            if look.entry is not None:
                registration.write_entry(instance, look.entry)
                self._entries_at[instance.pk] = time.monotonic()
            health.note(instance.pk, finding, source=HealthCheck.Source.PROBE)

    def _look(self, instance: ArmInstance) -> _Look:
        seen_s = time.monotonic() - self._entries_at.get(instance.pk, float("-inf"))
        return _Look(
            arm=instance.arm_id,
            url=instance.location,
            token=registry.token_of(instance),
            wants_entry=not instance.entry_hash or seen_s > ENTRY_S,
        )


@dataclass
class _Look:
    """One probe: what is asked, and then what was found."""

    arm: str
    url: str
    token: str = field(repr=False)
    wants_entry: bool
    finding: Finding = _SILENT
    entry: Entry | None = None

    async def take(self) -> None:
        """Ask, within the time-out; whatever comes is a finding."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self.finding = await self._health()
                if self.wants_entry and self.finding.is_well:
                    self.entry = read_entry(await self._get(""), name=self.arm)
        except TimeoutError:
            detail = f"It did not answer within {TIMEOUT_S:g} s."
            self.finding = Finding(is_well=False, detail=detail)
        except OctoLLMError as error:
            self.finding = Finding(is_well=False, detail=error.message)
        except Exception as error:  # noqa: BLE001  # whatever the library raises
            detail = f"It could not be reached ({type(error).__name__})."
            self.finding = Finding(is_well=False, detail=detail)
        else:
            self._note_latency(began)

    async def _health(self) -> Finding:
        from arms.wire import fetch  # the HTTP library, which few processes need

        answer = await fetch(self._place(), "health")
        if answer.status != 200:
            detail = f"It answered with status {answer.status}."
            return Finding(is_well=False, detail=detail)
        return finding_in(answer.body)

    async def _get(self, path: str) -> bytes:
        from arms.wire import fetch

        answer = await fetch(self._place(), path)
        if answer.status != 200:
            raise OctoLLMError(f"It shows no entry (status {answer.status}).")
        return answer.body

    def _place(self) -> Place:
        return Place(name=self.arm, url=self.url, token=self.token)

    def _note_latency(self, began: float) -> None:
        took_ms = (time.monotonic() - began) * 1000
        found = self.finding
        self.finding = Finding(
            is_well=found.is_well,
            is_degraded=found.is_degraded,
            detail=found.detail,
            latency_ms=took_ms,
        )


def finding_in(body: bytes) -> Finding:
    """Return what the body of a health check with status 200 says.

    A JSON object's ``status`` counts; where there is none the status code has said it.
    """
    if len(body) > MAX_HEALTH_BYTES:
        return Finding(is_well=False, detail="Its health check says too much.")
    try:
        said = json.loads(body)
    except (ValueError, RecursionError):
        return Finding(is_well=True)
    status = said.get("status") if isinstance(said, dict) else None
    if not isinstance(status, str) or status.lower() in _WELL:
        return Finding(is_well=True)
    if status.lower() in _SO_SO:
        return Finding(is_well=True, is_degraded=True, detail="It says: degraded.")
    word = status[:40] if status.isprintable() else "something unprintable"
    return Finding(is_well=False, detail=f"It says: {word}.")


async def _gathered(looks: Sequence[_Look]) -> Sequence[_Look]:
    await asyncio.gather(*(each.take() for each in looks))
    return looks


def _due() -> Sequence[ArmInstance]:
    """Return the instances whose time has come; not those that nobody hears of."""
    silent = Now() - timedelta(seconds=settings.OCTOLLM_HEARTBEAT_TTL_S)
    found = ArmInstance.objects.filter(probe_at__lte=Now())
    return list(found.exclude(state=_State.DISABLED).exclude(heartbeat_at__lt=silent))


def _put_off(due: Sequence[ArmInstance]) -> None:
    """Say when each is due next, before it is asked: a second leader leaves it alone."""
    for each in due:
        interval_s = settings.OCTOLLM_PROBE_INTERVAL_S
        if each.state == _State.STARTING:
            interval_s = min(INTERVAL_S, interval_s)
        pause_s = interval_s * _random.uniform(1 - JITTER, 1 + JITTER)
        each.probe_at = Now() + timedelta(seconds=pause_s)
    ArmInstance.objects.bulk_update(due, ["probe_at"])


def _keep_house() -> None:
    """Follow the settings; mark who is silent; forget who is gone; trim the history."""
    registration.name_places(remote.announcements(), sees=remote.sees())
    silent_for = timedelta(seconds=settings.OCTOLLM_HEARTBEAT_TTL_S)
    announced = ArmInstance.objects.filter(source=ArmInstance.Source.ANNOUNCED)
    silent = announced.filter(heartbeat_at__lt=Now() - silent_for)
    silent.filter(~Q(state__in=(_State.DISABLED, _State.DOWN))).update(
        state=_State.DOWN, rises=0, detail="No heartbeat came."
    )
    for pk in announced.filter(heartbeat_at__lt=Now() - GONE_AFTER).values_list(
        "pk", flat=True
    ):
        registration.leave(pk)
    age = timedelta(days=settings.OCTOLLM_RETAIN_HEALTH_CHECKS_DAYS)
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"age": age, "most": MAX_HISTORY_ROWS}
        cursor.execute(_TRIM, values)
