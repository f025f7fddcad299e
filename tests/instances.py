"""Rows of arms elsewhere and of what is known of their instances, for tests."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from django.db.models.functions import Now
from django.utils import timezone

from arms import registration
from arms.registry_models import ArmInstance, HealthCheck, RegisteredArm
from octollm.resilience import slots
from octollm.resilience.models import Breaker

TOKEN = "billing-" + "secret-token"
# What a hostile arm could call itself, or say.
HOSTILE = "<script>alert('x')</script>\"><img src=x onerror=alert(1)>"


def make_arm(name: str = "billing", **overrides: Any) -> RegisteredArm:
    """Return an arm elsewhere that has been reached once."""
    nothing = {"type": "object", "properties": {}}
    fields: dict[str, Any] = {
        "version": "1.2.0",
        "description": "Sends invoices.",
        "capabilities": [
            {
                "name": f"{name}_send",
                "description": "Send one.",
                "input_schema": nothing,
                "output_schema": nothing,
            }
        ],
        "sees": ["EMAIL", "PHONE"],
    }
    arm, _ = RegisteredArm.objects.update_or_create(
        name=name, defaults=fields | overrides
    )
    return arm


def make_instance(
    url: str = "http://billing-1.internal:8090", *, arm: str = "billing", **values: Any
) -> ArmInstance:
    """Return an instance of an arm that is healthy unless said otherwise."""
    if not RegisteredArm.objects.filter(name=arm).exists():
        make_arm(arm)
    instance = registration.announce(
        registration.Announcement(
            arm=arm, url=url, source=ArmInstance.Source.OPERATOR, token=TOKEN
        )
    )
    values = {"state": ArmInstance.State.HEALTHY} | values
    ArmInstance.objects.filter(pk=instance.pk).update(**values)
    instance.refresh_from_db()
    return instance


def make_checks(instance: ArmInstance, *outcomes: str) -> None:
    """Enter a check for each outcome, a second apart; an empty one went well."""
    now = timezone.now()
    HealthCheck.objects.bulk_create(
        HealthCheck(
            instance=instance,
            at=now - timedelta(seconds=len(outcomes) - number),
            source=HealthCheck.Source.PROBE,
            is_healthy=not detail,
            latency_ms=12.5,
            detail=detail,
        )
        for number, detail in enumerate(outcomes)
    )


def open_breaker(instance: ArmInstance, *, seconds: float = 60.0) -> Breaker:
    """Open the breaker of an instance."""
    until = timezone.now() + timedelta(seconds=seconds)
    return Breaker.objects.create(
        name=registration.breaker_of(instance.arm_id, instance.pk),
        state=Breaker.State.OPEN,
        open_until=until,
        updated_at=Now(),
    )


def take_places(instance: ArmInstance, count: int) -> list[UUID]:
    """Take so many places of an instance; return who holds them."""
    holders = [uuid4() for _ in range(count)]
    for holder in holders:
        assert slots.take(registration.scope_of(instance.pk), holder)
    return holders
