"""Probes in a test's own process."""

from __future__ import annotations

from datetime import timedelta

from django.conf import settings
from django.db.models.functions import Now

from arms import registry
from arms.probing import Prober
from arms.registry_models import ArmInstance


def probe(prober: Prober | None = None, *, times: int = 1) -> None:
    """Look after all instances now, as the leader does when they are due."""
    prober = prober or Prober()
    for _ in range(times):
        ArmInstance.objects.update(probe_at=Now() - timedelta(seconds=1))
        prober.tick()
    registry.forget()


def probe_until_well() -> None:
    """Look as often as it takes for a well instance to be found so."""
    probe(times=1 + settings.OCTOLLM_PROBE_RISE)
