"""Look after arms elsewhere: fetch what they say of themselves, ask whether they are well."""

from __future__ import annotations

import logging

from django.db.models.functions import Now

from arms import registration, remote
from arms.entries import read_entry
from arms.registry_models import ArmInstance
from octollm.errors import OctoLLMError

logger = logging.getLogger(__name__)

INTERVAL_S = 1.0


def tick() -> None:
    """Probe what is due."""
    registration.name_places(remote.announcements(), sees=remote.sees())
    for instance in ArmInstance.objects.exclude(location="in-process"):
        _probe(instance)


def _probe(instance: ArmInstance) -> None:
    from arms.client import fetch_entry
    from arms.wire import Place

    token = registration.decrypted(instance.token) or remote.token_of(
        instance.arm_id, instance.location
    )
    place = Place(name=instance.arm_id, url=instance.location, token=token)
    rows = ArmInstance.objects.filter(pk=instance.pk)
    try:
        entry = read_entry(fetch_entry(place), name=instance.arm_id)
    except OctoLLMError as error:
        rows.update(state=ArmInstance.State.DOWN, detail=error.message)
    else:
        registration.write_entry(instance, entry)
        rows.update(
            state=ArmInstance.State.HEALTHY, checked_at=Now(), latency_ms=1.0, detail=""
        )
