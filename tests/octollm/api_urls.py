"""The project's addresses and a few views that misbehave on request."""

from __future__ import annotations

from django.core.exceptions import PermissionDenied, SuspiciousOperation
from django.db import IntegrityError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.urls import path
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from octollm.access.callers import owner_of
from octollm.access.models import ApiKey
from octollm.api import NewestFirstPagination, StrictSerializer
from octollm.errors import (
    IllegalStateError,
    OctoLLMError,
    ScreeningUnavailableError,
    TaskRejectedError,
    VaultError,
)
from octollm.urls import handler400, handler403, handler404, handler500
from octollm.urls import urlpatterns as project_urlpatterns
from octollm.views import OpenView

__all__ = ["handler400", "handler403", "handler404", "handler500", "urlpatterns"]


class UnforeseenError(Exception):
    """What nobody thought of."""


RAISED: dict[str, Exception] = {
    "illegal": IllegalStateError("The task is finished."),
    "rejected": TaskRejectedError(rule_ids=("injection.override",)),
    "screening": ScreeningUnavailableError(),
    "vault": VaultError(),
    "database": OperationalError("connection to server at 10.0.0.5 failed"),
    "row": IntegrityError("Key (goal)=(4111 1111 1111 1111) already exists."),
    "bug": UnforeseenError("4111 1111 1111 1111"),
    "denied": PermissionDenied("because of 4111 1111 1111 1111"),
    "suspicious": SuspiciousOperation("4111 1111 1111 1111"),
}


class BudgetSerializer(StrictSerializer):
    max_tokens = serializers.IntegerField(required=False, min_value=1)


class EchoSerializer(StrictSerializer):
    unsupported_fields = frozenset({"approval"})

    goal = serializers.CharField(max_length=100)
    priority = serializers.ChoiceField(["low", "high"], required=False)
    budget = BudgetSerializer(required=False)
    labels = serializers.DictField(child=serializers.IntegerField(), required=False)
    items = serializers.ListField(child=BudgetSerializer(), required=False)
    echoed_at = serializers.DateTimeField(read_only=True)


class EchoView(OpenView):
    def post(self, request: Request) -> Response:
        serializer = EchoSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        return Response(serializer.validated_data)


class RawView(OpenView):
    max_body_bytes = 100
    accepts_list = True

    def post(self, request: Request) -> Response:
        return Response({"got": request.data})


class RaiseView(OpenView):
    def get(self, request: Request, name: str) -> Response:
        raise RAISED[name]


class WhoView(APIView):
    def get(self, request: Request) -> Response:
        return Response({"owner": owner_of(request).name})

    def post(self, request: Request) -> Response:
        return self.get(request)


class KeysView(APIView):
    def get(self, request: Request) -> Response:
        pages = NewestFirstPagination()
        rows = pages.paginate_queryset(ApiKey.objects.all(), request, view=self)
        return pages.get_paginated_response([row.name for row in rows])


def plain_raise(request: HttpRequest, name: str) -> HttpResponse:
    """Fail outside DRF, as the admin would."""
    error = RAISED[name]
    assert isinstance(error, (Exception, OctoLLMError))
    raise error


urlpatterns = [
    *project_urlpatterns,
    path("echo", EchoView.as_view(), name="echo"),
    path("raw", RawView.as_view(), name="raw"),
    path("raise/<name>", RaiseView.as_view(), name="raise"),
    path("plain-raise/<name>", plain_raise, name="plain-raise"),
    path("who", WhoView.as_view(), name="who"),
    path("keys", KeysView.as_view(), name="keys"),
]
