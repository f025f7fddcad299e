"""The addresses that belong to no app: service, probes, metrics, description."""

from __future__ import annotations

import ipaddress
from typing import Any

from django.http import HttpRequest, HttpResponse
from drf_spectacular.renderers import OpenApiJsonRenderer2, OpenApiYamlRenderer
from drf_spectacular.utils import extend_schema, inline_serializer
from drf_spectacular.views import SpectacularAPIView
from rest_framework import serializers
from rest_framework.renderers import BaseRenderer, JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse
from rest_framework.views import APIView

from octollm import __version__, health, metrics
from octollm.access.permissions import HasAccess
from octollm.resilience.switches import MAINTENANCE


class OpenView(APIView):
    """A view for everybody; it looks at no credential and so at no database."""

    authentication_classes = ()
    permission_classes = ()


class RootView(OpenView):
    """Service, version and links."""

    @extend_schema(
        operation_id="service",
        tags=["system"],
        responses=inline_serializer(
            "Service",
            {
                "service": serializers.CharField(),
                "version": serializers.CharField(),
                "links": serializers.DictField(child=serializers.URLField()),
            },
        ),
    )
    def get(self, request: Request) -> Response:
        """Say what this is and where to go on."""
        names = ("health", "ready", "metrics", "schema", "docs", "admin:index")
        links = {
            name.partition(":")[0]: reverse(name, request=request) for name in names
        }
        return Response({"service": "OctoLLM", "version": __version__, "links": links})


class HealthView(OpenView):
    """Whether the process answers."""

    @extend_schema(
        operation_id="health",
        tags=["system"],
        responses=inline_serializer(
            "ServiceHealth",
            {"status": serializers.CharField(), "version": serializers.CharField()},
        ),
    )
    def get(self, request: Request) -> Response:
        """Answer, without the database."""
        return Response({"status": "healthy", "version": __version__})


class ReadyView(OpenView):
    """Whether the process can do its work."""

    @extend_schema(
        operation_id="ready",
        tags=["system"],
        responses=dict.fromkeys(
            (200, 503),
            inline_serializer(
                "Readiness",
                {
                    "status": serializers.CharField(help_text="ready or not_ready"),
                    "maintenance": serializers.BooleanField(
                        help_text="Requests are taken, and what they ask for waits."
                    ),
                    "checks": serializers.ListField(child=serializers.DictField()),
                },
            ),
        ),
    )
    def get(self, request: Request) -> Response:
        """List the checks; 503 unless all of them pass."""
        results = health.check_all()
        is_ready = all(result.is_ready for result in results)
        checks: list[dict[str, Any]] = [
            {
                "name": result.name,
                "status": "ok" if result.is_ready else "failed",
                "detail": result.detail,
                "note": result.note,
                "duration_ms": result.duration_ms,
            }
            for result in results
        ]
        notes = {result.name: result.note for result in results}
        return Response(
            {
                "status": "ready" if is_ready else "not_ready",
                "maintenance": notes.get(MAINTENANCE) == "on",
                "checks": checks,
            },
            status=200 if is_ready else 503,
        )


class MayReadMetrics(HasAccess):
    """Let in whoever has access, and programs on this machine."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Say whether the caller may read the metrics."""
        return is_local(request) or super().has_permission(request, view)


class MetricsView(APIView):
    """Prometheus' text format; right whichever process answers."""

    required_scope = "metrics"
    permission_classes = (MayReadMetrics,)

    def perform_content_negotiation(
        self, request: Request, force: bool = False  # noqa: FBT001, FBT002  # DRF's
    ) -> tuple[BaseRenderer, str]:
        """Take any Accept: there is one format, and errors are JSON."""
        return JSONRenderer(), JSONRenderer.media_type

    @extend_schema(
        operation_id="metrics", tags=["system"], responses={(200, "text/plain"): str}
    )
    def get(self, request: Request) -> HttpResponse:
        """Return all metrics."""
        return metrics.export(request._request)


class SchemaView(SpectacularAPIView):
    """The OpenAPI description, in JSON unless YAML is asked for."""

    renderer_classes = [OpenApiJsonRenderer2, OpenApiYamlRenderer]

    def _get_version_parameter(self, request: Request) -> None:
        # From the address it would go into a header of the answer, line breaks and all.
        return None


def is_local(request: HttpRequest | Request) -> bool:
    """Say whether the caller is a program on this machine.

    Behind a proxy on this machine everybody seems to be: then it is not enough.
    """
    forwarded = ("HTTP_X_FORWARDED_FOR", "HTTP_FORWARDED", "HTTP_X_REAL_IP")
    if any(name in request.META for name in forwarded):
        return False
    try:
        return ipaddress.ip_address(request.META.get("REMOTE_ADDR", "")).is_loopback
    except ValueError:
        return False
