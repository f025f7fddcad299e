"""The catalogue of arms over HTTP."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arms.contract import ANSWERED_FROM_STORE, AT_LEAST_ONCE, ArmSpec
from arms.entries import describe
from arms.overview import STATES, ArmOverview, InstanceOverview, view_arms
from arms.registry import catalogue, fallback_of
from arms.registry_models import ArmInstance
from octollm.resilience.models import Breaker
from octollm.serializers import query_of
from octollm.views import OpenView


class HealthSerializer(serializers.Serializer[Any]):
    """How an arm is, by whom and when that was found.

    ``healthy``: it takes steps. ``degraded``: it does, though an instance is not well.
    ``down``: no instance takes steps. ``starting``: the first is not found well yet.
    """

    state = serializers.ChoiceField(choices=STATES)
    source = serializers.ChoiceField(choices=["self-check", "probe"])  # type: ignore[assignment]  # a field's name
    detail = serializers.CharField()
    checked_at = serializers.DateTimeField(allow_null=True)


class BreakerSerializer(serializers.Serializer[Any]):
    """Whether an instance may be asked, and if not, when again."""

    state = serializers.ChoiceField(choices=Breaker.State.values)
    until = serializers.DateTimeField(allow_null=True)


class InstanceSerializer(serializers.Serializer[Any]):
    """One place where an arm runs, as its last check or call left it."""

    id = serializers.UUIDField()
    location = serializers.CharField(help_text="`in-process`, or a URL.")
    source = serializers.ChoiceField(choices=ArmInstance.Source.values)  # type: ignore[assignment]  # a field's name
    state = serializers.ChoiceField(choices=ArmInstance.State.values)
    since = serializers.DateTimeField(help_text="When it came into its state.")
    detail = serializers.CharField()
    weight = serializers.IntegerField(help_text="Its share of the calls.")
    version = serializers.CharField()
    latency_ms = serializers.FloatField(
        allow_null=True, help_text="Of its checks, as a moving average."
    )
    taken = serializers.IntegerField(
        help_text="How many steps it does now; 0 where no number of them is too many."
    )
    breaker = BreakerSerializer()
    checked_at = serializers.DateTimeField(allow_null=True)
    heartbeat_at = serializers.DateTimeField(
        allow_null=True, help_text="When it last said that it is there, if it does so."
    )


class ArmSerializer(serializers.Serializer[Any]):
    """One arm; ``capability_details`` describes each capability with its schemas."""

    name = serializers.CharField()
    version = serializers.CharField()
    description = serializers.CharField()
    capabilities = serializers.ListField(child=serializers.CharField())
    capability_details = serializers.ListField(child=serializers.DictField())
    sees = serializers.ListField(child=serializers.CharField())
    is_repeatable = serializers.BooleanField()
    shares_store = serializers.BooleanField(
        help_text="Whether each instance can say what any of them did."
    )
    on_crash = serializers.ChoiceField(
        choices=[ANSWERED_FROM_STORE, AT_LEAST_ONCE],
        help_text="What becomes of a call that a crash of ours cut off.",
    )
    queue = serializers.CharField()
    concurrency = serializers.IntegerField(
        allow_null=True,
        help_text="How many steps each instance takes at once; null: any number.",
    )
    fallback = serializers.CharField(
        allow_blank=True, help_text="The arm that is taken while this one is away."
    )
    grants = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="Tools, commands and hosts that its steps may ask for.",
    )
    health = HealthSerializer()
    instances = InstanceSerializer(many=True)


class ArmListView(APIView):
    """List the arms."""

    @extend_schema(responses=ArmSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Return all arms in a bare array, by name."""
        query_of(request)
        return Response([_present(arm) for arm in view_arms(catalogue())])


class ArmView(APIView):
    """Show one arm."""

    @extend_schema(responses=ArmSerializer)
    def get(self, request: Request, name: str) -> Response:
        """Return the arm of that name."""
        query_of(request)
        (arm,) = view_arms([_spec(name)])
        return Response(_present(arm))


class ArmHealthSerializer(serializers.Serializer[Any]):
    """Whether an arm is well; why not is for callers with a key."""

    status = serializers.CharField(help_text="`healthy` or `unhealthy`.")
    state = serializers.ChoiceField(choices=STATES)
    arm = serializers.CharField()
    version = serializers.CharField()
    checked_at = serializers.DateTimeField(allow_null=True)


class ArmHealthView(OpenView):
    """Whether an arm is well, for probes."""

    @extend_schema(
        operation_id="arm_health",
        responses=dict.fromkeys((200, 503), ArmHealthSerializer),
    )
    def get(self, request: Request, name: str) -> Response:
        """Answer 200 when it takes steps, healthy or degraded, else 503."""
        query_of(request)
        (arm,) = view_arms([_spec(name)])
        found = arm.health
        return Response(
            {
                "status": "healthy" if found.is_well else "unhealthy",
                "state": found.state,
                "arm": arm.spec.name,
                "version": arm.spec.version,
                "checked_at": _shown(found.checked_at),
            },
            status=200 if found.is_well else 503,
        )


def _spec(name: str) -> ArmSpec:
    """Return the catalogue's entry of that name, or answer 404."""
    spec = next((spec for spec in catalogue() if spec.name == name), None)
    if spec is None:
        raise Http404
    return spec


def _present(arm: ArmOverview) -> dict[str, Any]:
    spec, found = arm.spec, arm.health
    described = describe(spec)
    return {
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "capabilities": [capability.name for capability in spec.capabilities],
        "capability_details": described["capabilities"],
        "sees": described["sees"],
        "is_repeatable": spec.is_repeatable,
        "shares_store": spec.shares_store,
        "on_crash": spec.on_crash,
        "queue": spec.queue,
        "concurrency": arm.concurrency,
        "fallback": fallback_of(spec.name),
        "grants": described["grants"],
        "health": {
            "state": found.state,
            "source": found.source,
            "detail": found.detail,
            "checked_at": _shown(found.checked_at),
        },
        "instances": [_present_instance(each) for each in arm.instances],
    }


def _present_instance(instance: InstanceOverview) -> dict[str, Any]:
    # Named one by one: the row holds a token.
    row = instance.row
    return {
        "id": str(row.pk),
        "location": row.location,
        "source": row.source,
        "state": row.state,
        "since": _shown(row.since),
        "detail": row.detail,
        "weight": row.weight,
        "version": instance.version,
        "latency_ms": row.latency_ms,
        "taken": instance.places.taken,
        "breaker": {
            "state": instance.breaker.state,
            "until": _shown(instance.breaker.until),
        },
        "checked_at": _shown(row.checked_at),
        "heartbeat_at": _shown(row.heartbeat_at),
    }


def _shown(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
