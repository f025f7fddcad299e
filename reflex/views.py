"""The reflex over HTTP: parse, call one function, answer."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiResponse, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from octollm import __version__
from octollm.api import problem
from octollm.errors import RateLimitedError
from octollm.ids import new_id
from octollm.openapi import ProblemSerializer
from octollm.views import MetricsView as AllMetricsView
from octollm.views import OpenView
from reflex import limits, screening, service
from reflex.decide import Checkpoint
from reflex.detection import BLOCKING_IS_OFF
from reflex.redact import Style
from reflex.rules import load_rules
from reflex.serializers import ProcessedSerializer, WishSerializer

_PROBLEM = OpenApiResponse(ProblemSerializer)


class ProcessView(APIView):
    """What is in a text."""

    required_scope = "screen"
    # A document is sent as one text, its parts kept apart by them.
    accepts_nul: ClassVar[bool] = True
    serializer_class = WishSerializer

    @extend_schema(
        operation_id="reflex_process",
        tags=["reflex"],
        request=WishSerializer,
        responses={
            200: ProcessedSerializer,
            (429, "application/problem+json"): _PROBLEM,
        },
    )
    def post(self, request: Request) -> Response:
        """Find personal data, secrets and attacks; return places, never values."""
        serializer = WishSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        grant = limits.take(caller_of(request), user_id=given.get("user_id") or "")
        if grant.wait_s > 0:
            return _too_many(request, grant)
        answer = service.process(
            service.Wish(
                text=given["text"],
                check_pii=given["check_pii"],
                check_injection=given["check_injection"],
                checkpoint=Checkpoint(given["checkpoint"]),
                redaction=Style(given["redaction"]),
                use_cache=given["use_cache"],
            )
        )
        request_id = request.META.get("OCTOLLM_REQUEST_ID") or str(new_id())
        return Response({"request_id": request_id, **answer}, headers=grant.headers())


def caller_of(request: Request) -> str:
    """Return whom the limit counts: a key's owner, an account, or this machine."""
    user = request.user
    return str(user.pk) if getattr(user, "is_authenticated", False) else "local"


def _too_many(request: Request, grant: limits.Grant) -> Response:
    error = RateLimitedError(retry_after_s=grant.wait_s)
    document = problem(
        request,
        status_code=error.http_status,
        code=error.code,
        detail=error.message,
    )
    is_page = request.accepted_renderer.format == "api"
    return Response(
        document,
        status=error.http_status,
        headers=dict(grant.headers()),
        content_type=None if is_page else "application/problem+json",
    )


class HealthView(OpenView):
    """Whether the process answers."""

    @extend_schema(
        operation_id="reflex_health",
        tags=["reflex"],
        responses=inline_serializer(
            "ReflexHealth",
            {"status": serializers.CharField(), "version": serializers.CharField()},
        ),
    )
    def get(self, request: Request) -> Response:
        """Answer, whatever the engine does."""
        return Response({"status": "healthy", "version": __version__})


class ReadyView(OpenView):
    """Whether texts can be screened here."""

    @extend_schema(
        operation_id="reflex_ready",
        tags=["reflex"],
        responses=dict.fromkeys(
            (200, 503),
            inline_serializer(
                "ReflexReadiness",
                {
                    "status": serializers.CharField(help_text="ready or not_ready"),
                    "detail": serializers.CharField(),
                    "blocking": serializers.BooleanField(
                        help_text="False: attacks are noted and let through."
                    ),
                    "ruleset_version": serializers.CharField(),
                },
            ),
        ),
    )
    def get(self, request: Request) -> Response:
        """Try the engine on a known attack."""
        is_ready, detail = screening.is_engine_ready()
        return Response(
            {
                "status": "ready" if is_ready else "not_ready",
                "detail": detail,
                "blocking": BLOCKING_IS_OFF not in detail,
                "ruleset_version": load_rules().version if is_ready else "",
            },
            status=200 if is_ready else 503,
        )


class MetricsView(AllMetricsView):
    """The same metrics, for who scrapes the reflex alone."""

    @extend_schema(
        operation_id="reflex_metrics",
        tags=["reflex"],
        responses={(200, "text/plain"): str},
    )
    def get(self, request: Request) -> HttpResponse:
        """Return all metrics."""
        return super().get(request)
