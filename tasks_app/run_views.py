"""What may be done with a task that is there: raise, retry, fork, compare."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from octollm.access.callers import owner_of
from octollm.api import PROBLEM_JSON
from octollm.openapi import ProblemSerializer
from octollm.serializers import query_of, refuse_body
from tasks_app import comparing, forks, presenting, runs
from tasks_app.models import Task, TaskResult
from tasks_app.run_serializers import (
    BUDGET_EXAMPLE,
    FORK_EXAMPLE,
    MISSING_INPUT_EXAMPLE,
    STEP_FIELDS,
    TEXT_FIELDS,
    ComparisonSerializer,
    ForkSerializer,
    RaiseSerializer,
)
from tasks_app.serializers import AcceptedSerializer, TaskSerializer
from tasks_app.views import accepted_response, own_task

_REFUSED = {(status.HTTP_409_CONFLICT, PROBLEM_JSON): ProblemSerializer}


class BudgetView(APIView):
    """Raise a task's budget."""

    serializer_class = RaiseSerializer

    @extend_schema(
        operation_id="tasks_budget",
        request=RaiseSerializer,
        responses={200: TaskSerializer, **_REFUSED},
        examples=[BUDGET_EXAMPLE],
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        """Raise caps; a task that they stopped goes on where it stopped."""
        serializer = RaiseSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        caps = runs.Caps(**serializer.validated_data)
        try:
            runs.raise_budget(task_id, caps, owner=owner_of(request))
        except Task.DoesNotExist:
            raise Http404 from None
        return _shown(request, task_id)


class RetryView(APIView):
    """Retry a failed task."""

    @extend_schema(
        operation_id="tasks_retry",
        request=None,
        responses={200: TaskSerializer, **_REFUSED},
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        """Go on from what failed; what is done is kept and not run again."""
        refuse_body(request)
        try:
            runs.retry_task(task_id, owner=owner_of(request))
        except Task.DoesNotExist:
            raise Http404 from None
        return _shown(request, task_id)


class ForkView(APIView):
    """Fork a task."""

    serializer_class = ForkSerializer

    @extend_schema(
        operation_id="tasks_fork",
        request=ForkSerializer,
        responses={
            200: AcceptedSerializer,
            (status.HTTP_422_UNPROCESSABLE_ENTITY, PROBLEM_JSON): ProblemSerializer,
        },
        examples=[FORK_EXAMPLE, MISSING_INPUT_EXAMPLE],
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="The same key and body give the first answer again.",
            )
        ],
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        """Start a new task from this one, with changes."""
        serializer = ForkSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        try:
            accepted = forks.fork_task(
                owner_of(request),
                task_id,
                _changes(serializer.validated_data),
                key=request.headers.get("Idempotency-Key"),
            )
        except Task.DoesNotExist:
            raise Http404 from None
        return accepted_response(accepted)


class CompareView(APIView):
    """Compare two tasks."""

    @extend_schema(operation_id="tasks_compare", responses=ComparisonSerializer)
    def get(self, request: Request, task_id: UUID, other_id: UUID) -> Response:
        """Return what they took, what was found, and where they differ."""
        query_of(request)
        this, other = own_task(request, task_id), own_task(request, other_id)
        return Response(comparing.compare(this, other))


def _changes(body: dict[str, Any]) -> forks.Changes:
    return forks.Changes(
        texts={name: body[name] for name in TEXT_FIELDS if name in body},
        budget=body.get("budget", {}),
        from_step=body.get("from_step"),
        step={name: body[name] for name in STEP_FIELDS if name in body},
        model=body.get("model"),
    )


def _shown(request: Request, task_id: UUID) -> Response:
    task = own_task(request, task_id)
    result = TaskResult.objects.filter(task=task).order_by("-run").first()
    return Response(presenting.present_task_with_result(task, result))
