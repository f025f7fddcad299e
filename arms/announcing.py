"""What an instance says of itself: that it serves, that it drains, that it is gone.

An operator's word stands above an instance's: what an operator drained or disabled
stays so, also when the instance leaves and comes back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Literal
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from arms import remote
from arms.registration import Announcement, announce, leave
from arms.registry_models import ArmInstance
from octollm.errors import PlaceNamedError

logger = logging.getLogger(__name__)

# How often an instance says that it is still there.
HEARTBEAT_S = 10.0
DRAINS = "It says that it is about to stop."

Wish = Literal["serving", "draining", "gone"]
Source, State = ArmInstance.Source, ArmInstance.State
# What an operator has said of an instance.
_IS_SET_ASIDE = Q(state=State.DISABLED) | Q(state=State.DRAINING, drains_itself=False)


@dataclass(frozen=True, kw_only=True)
class Announced:
    """What became of an announcement; no id when nothing is left of the instance."""

    instance_id: UUID | None
    state: str


def hear(announcement: Announcement, wish: Wish) -> Announced:
    """Do what an instance says of itself; saying it again changes nothing.

    Raises:
        PlaceNamedError: the settings name the place, so they decide about it.
    """
    known = ArmInstance.objects.filter(
        arm_id=announcement.arm, location=announcement.url
    ).first()
    is_named = remote.names_place(announcement.arm, announcement.url)
    if is_named or (known is not None and known.source == Source.SETTINGS):
        raise PlaceNamedError
    if wish == "gone":
        return _take_out(known)
    if known is not None and known.source == Source.OPERATOR:
        # It stays the operator's, and needs no heartbeat.
        announcement = replace(announcement, source=Source.OPERATOR)
    instance = announce(announcement)
    if wish == "serving":
        _come_back(instance)
    else:
        _drain(instance)
    instance.refresh_from_db()
    return Announced(instance_id=instance.pk, state=instance.state)


def _come_back(instance: ArmInstance) -> None:
    """Let one that drained by its own word be probed as a new one is."""
    if not instance.drains_itself:
        return
    drained = ArmInstance.objects.filter(
        pk=instance.pk, state=State.DRAINING, drains_itself=True
    )
    is_back = drained.update(
        state=State.STARTING,
        drains_itself=False,
        detail="",
        rises=0,
        falls=0,
        probe_at=Now(),
    )
    if is_back:
        logger.info("an instance of an arm is back: %s", instance.arm_id)
    else:
        # An operator has done something else with it since.
        ArmInstance.objects.filter(pk=instance.pk).update(drains_itself=False)


def _drain(instance: ArmInstance) -> None:
    """Give it nothing new; it answers for what it has."""
    others = ArmInstance.objects.filter(pk=instance.pk).exclude(
        state__in=(State.DRAINING, State.DISABLED)
    )
    if others.update(state=State.DRAINING, drains_itself=True, detail=DRAINS):
        logger.info("an instance of an arm drains: %s", instance.arm_id)


def _take_out(known: ArmInstance | None) -> Announced:
    """Forget an instance, unless an operator has said something of it."""
    if known is None:
        return Announced(instance_id=None, state="gone")
    kept = ArmInstance.objects.filter(Q(source=Source.OPERATOR) | _IS_SET_ASIDE)
    if instance := kept.filter(pk=known.pk).first():
        return Announced(instance_id=instance.pk, state=instance.state)
    if leave(known.pk):
        logger.info("an instance of an arm is gone: %s", known.arm_id)
    return Announced(instance_id=None, state="gone")
