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
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections
from django.db.models import Q
from django.db.models.functions import Now

from arms import health, registration, registry, remote
from arms.entries import read_entry
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
# Of a round in which the loop stood still for so long, who did not answer in time is
# not to blame; and how often that is looked at.
STALL_S = 1.0
BEAT_S = 0.1
JITTER = 0.2
# How old an entry may get before it is fetched again.
ENTRY_S = 30.0
# How often settings, those who are gone and the history are looked after.
HOUSEKEEPING_S = 10.0
MAX_HEALTH_BYTES = 65_536
MAX_HISTORY_ROWS = 2_000
GONE_AFTER = timedelta(days=1)
_WELL = frozenset({"healthy", "ok", "up", "pass", "well"})
_SO_SO = frozenset({"degraded", "warn", "warning"})

_SILENT = Finding(is_well=False, detail="It did not answer.")
_ENDLESS = Finding(is_well=False, detail="Its self-check does not end.")
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
    _self_checks: _SelfChecks = field(default_factory=lambda: _SelfChecks())

    def tick(self) -> None:
        """Look after all that is due; one that fails is looked at again later."""
        now = time.monotonic()
        if now - self._kept_at >= HOUSEKEEPING_S:
            self._kept_at = now
            _keep_house()
        _mark_silent()
        due = _due()
        elsewhere = [each for each in due if each.location != registry.IN_PROCESS]
        _put_off(due)
        if elsewhere:
            self._probe_all(elsewhere)
        here = [each for each in due if each.location == registry.IN_PROCESS]
        if here:
            self._self_checks.run(here)

    def _probe_all(self, instances: Sequence[ArmInstance]) -> None:
        looks = [self._look(each) for each in instances]
        stood_s = outbound.run(_gathered(looks), stop=StopToken(ROUND_S))
        if stood_s >= STALL_S:
            logger.warning("probes stood still for %.1f s", stood_s)
        for instance, look in zip(instances, looks, strict=True):
            if look.is_late and stood_s >= STALL_S:
                # Who was late: the instance, or we?
                continue
            try:
                finding = self._judged(instance, look)
                health.note(instance.pk, finding, source=HealthCheck.Source.PROBE)
            except (InterfaceError, OperationalError):
                # The database is away for all of them.
                raise
            except Exception:
                # What is wrong with one must not keep the others.
                logger.exception("a probe was not noted: %s", instance.arm_id)

    def _look(self, instance: ArmInstance) -> _Look:
        seen_s = time.monotonic() - self._entries_at.get(instance.pk, float("-inf"))
        look = _Look(
            arm=instance.arm_id,
            url=instance.location,
            wants_entry=not instance.entry_hash or seen_s > ENTRY_S,
        )
        try:
            look.token = registry.token_of(instance)
        except OctoLLMError as error:
            look.is_asked = False
            look.finding = Finding(is_well=False, detail=error.message)
        return look

    def _judged(self, instance: ArmInstance, look: _Look) -> Finding:
        """Return the finding, once what it says of itself was read and written.

        Not on the loop, which the process's model calls share: an entry may be long.
        """
        if look.entry is None:
            return look.finding
        try:
            entry = read_entry(look.entry, name=look.arm)
        except OctoLLMError as error:
            return Finding(is_well=False, detail=error.message)
        registration.write_entry(instance, entry)
        self._entries_at[instance.pk] = time.monotonic()
        return look.finding


class _SelfChecks:
    """Self-checks in a thread of their own: one that hangs holds up nobody else."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._under_way: ArmInstance | None = None

    def run(self, instances: Sequence[ArmInstance]) -> None:
        """Check these, and wait for a moment; while the last ones go on, none."""
        if self._thread is not None and self._thread.is_alive():
            if (hanging := self._under_way) is not None:
                health.note(hanging.pk, _ENDLESS, source=HealthCheck.Source.SELF_CHECK)
            return
        self._thread = threading.Thread(
            target=self._check, args=(instances,), name="self-checks", daemon=True
        )
        self._thread.start()
        self._thread.join(TIMEOUT_S)

    def _check(self, instances: Sequence[ArmInstance]) -> None:
        try:
            for instance in instances:
                self._under_way = instance
                health.check_arms([instance.arm_id])
        except Exception:
            logger.exception("the self-checks of arms broke off")
        finally:
            self._under_way = None
            connections.close_all()


@dataclass
class _Look:
    """One probe: what is asked, and then what was found."""

    arm: str
    url: str
    wants_entry: bool
    token: str = field(default="", repr=False)
    is_asked: bool = True
    is_late: bool = False
    finding: Finding = _SILENT
    entry: bytes | None = field(default=None, repr=False)

    async def take(self) -> None:
        """Ask, within the time-out; whatever comes is a finding."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                self.finding = await self._health()
                if self.wants_entry and self.finding.is_well:
                    self.entry = await self._get("")
        except TimeoutError:
            self.is_late = True
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


async def _gathered(looks: Sequence[_Look]) -> float:
    """Take all looks; return the seconds for which the loop stood still meanwhile.

    A paused process or a busy machine must not make every instance look dead.
    """
    watch = _Watch()
    watching = asyncio.ensure_future(watch.run())
    try:
        await asyncio.gather(*(each.take() for each in looks if each.is_asked))
    finally:
        watching.cancel()
    return watch.stood_s


class _Watch:
    """Measures by how much the loop is late."""

    stood_s = 0.0

    async def run(self) -> None:
        while True:
            began = time.monotonic()
            await asyncio.sleep(BEAT_S)
            late_s = time.monotonic() - began - BEAT_S
            self.stood_s = max(self.stood_s, late_s)


def _due() -> Sequence[ArmInstance]:
    """Return the instances whose time has come; not those that nobody hears of."""
    found = ArmInstance.objects.filter(probe_at__lte=Now())
    return list(found.exclude(state=_State.DISABLED).exclude(_is_silent()))


def _is_silent() -> Q:
    # Another source needs no heartbeat, though it may have announced itself before.
    since = Now() - timedelta(seconds=settings.OCTOLLM_HEARTBEAT_TTL_S)
    return Q(source=ArmInstance.Source.ANNOUNCED, heartbeat_at__lt=since)


def _mark_silent() -> None:
    """Take down what is not heard of any more, unless an operator set it aside."""
    set_aside = Q(state=_State.DISABLED) | Q(state=_State.DRAINING, drains_itself=False)
    silent = ArmInstance.objects.filter(_is_silent()).exclude(set_aside)
    silent.exclude(state=_State.DOWN).update(
        state=_State.DOWN, since=Now(), rises=0, detail="No heartbeat came."
    )


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
    """Follow the settings; forget who is gone; trim the history."""
    registration.name_places(remote.announcements(), sees=remote.sees())
    gone = ArmInstance.objects.filter(
        source=ArmInstance.Source.ANNOUNCED, heartbeat_at__lt=Now() - GONE_AFTER
    )
    # What an operator disabled must not be found well when it comes back.
    for pk in gone.exclude(state=_State.DISABLED).values_list("pk", flat=True):
        registration.leave(pk)
    days = settings.OCTOLLM_RETAIN_HEALTH_CHECKS_DAYS
    if days > 0:
        values: dict[str, Any] = {
            "age": timedelta(days=days),
            "most": MAX_HISTORY_ROWS,
        }
        with connection.cursor() as cursor:
            cursor.execute(_TRIM, values)
