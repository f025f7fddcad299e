"""The catalogue of arms over HTTP."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arms import health
from arms.contract import ANSWERED_FROM_STORE, AT_LEAST_ONCE, ArmSpec
from arms.entries import describe
from arms.registry import catalogue, instances_of
from arms.registry_models import ArmInstance
from octollm.serializers import query_of
from octollm.views import OpenView


class HealthSerializer(serializers.Serializer[Any]):
    """How an arm is, by whom and when that was found."""

    state = serializers.ChoiceField(choices=["healthy", "down"])
    source = serializers.CharField()  # type: ignore[assignment]  # a field's name
    detail = serializers.CharField()
    checked_at = serializers.DateTimeField()


class InstanceSerializer(serializers.Serializer[Any]):
    """One place where an arm runs."""

    location = serializers.CharField()
    state = serializers.CharField()
    detail = serializers.CharField()
    checked_at = serializers.DateTimeField(allow_null=True)


class ArmSerializer(serializers.Serializer[Any]):
    """One arm; ``capability_details`` describes each capability with its schemas."""

    name = serializers.CharField()
    version = serializers.CharField()
    description = serializers.CharField()
    capabilities = serializers.ListField(child=serializers.CharField())
    capability_details = serializers.ListField(child=serializers.DictField())
    sees = serializers.ListField(child=serializers.CharField())
    is_repeatable = serializers.BooleanField()
    on_crash = serializers.ChoiceField(
        choices=[ANSWERED_FROM_STORE, AT_LEAST_ONCE],
        help_text="What becomes of a call that a crash of ours cut off.",
    )
    health = HealthSerializer()
    instances = InstanceSerializer(many=True)


class ArmListView(APIView):
    """List the arms."""

    @extend_schema(responses=ArmSerializer(many=True))
    def get(self, request: Request) -> Response:
        """Return all arms in a bare array, by name."""
        query_of(request)
        return Response([_present(spec) for spec in catalogue()])


class ArmView(APIView):
    """Show one arm."""

    @extend_schema(responses=ArmSerializer)
    def get(self, request: Request, name: str) -> Response:
        """Return the arm of that name."""
        query_of(request)
        return Response(_present(_spec(name)))


class ArmHealthSerializer(serializers.Serializer[Any]):
    """Whether an arm is well; why not is for callers with a key."""

    status = serializers.CharField(help_text="healthy or unhealthy")
    arm = serializers.CharField()
    version = serializers.CharField()
    checked_at = serializers.DateTimeField()


class ArmHealthView(OpenView):
    """Whether an arm is well, for probes."""

    @extend_schema(
        operation_id="arm_health",
        responses=dict.fromkeys((200, 503), ArmHealthSerializer),
    )
    def get(self, request: Request, name: str) -> Response:
        """Answer 200 when its self-check passed within the last seconds, else 503."""
        query_of(request)
        spec = _spec(name)
        found, checked_at = health.check(spec.name)
        return Response(
            {
                "status": "healthy" if found.is_healthy else "unhealthy",
                "arm": spec.name,
                "version": spec.version,
                "checked_at": checked_at.isoformat(),
            },
            status=200 if found.is_healthy else 503,
        )


def _spec(name: str) -> ArmSpec:
    """Return the catalogue's entry of that name, or answer 404."""
    spec = next((spec for spec in catalogue() if spec.name == name), None)
    if spec is None:
        raise Http404
    return spec


def _present(spec: ArmSpec) -> dict[str, Any]:
    found, checked_at = health.check(spec.name)
    described = describe(spec)
    is_here = any(each.is_here for each in instances_of(spec.name))
    return {
        "name": spec.name,
        "version": spec.version,
        "description": spec.description,
        "capabilities": [capability.name for capability in spec.capabilities],
        "capability_details": described["capabilities"],
        "sees": described["sees"],
        "is_repeatable": spec.is_repeatable,
        "on_crash": spec.on_crash,
        "health": {
            "state": "healthy" if found.is_healthy else "down",
            "source": "self-check" if is_here else "probe",
            "detail": found.detail,
            "checked_at": checked_at.isoformat(),
        },
        "instances": [
            {
                "location": instance.location,
                "state": instance.state,
                "detail": instance.detail,
                "checked_at": instance.checked_at and instance.checked_at.isoformat(),
            }
            for instance in ArmInstance.objects.filter(arm_id=spec.name)
        ],
    }
