"""The public API of tasks: parse, call one function, present."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

import django_filters
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from octollm.access.callers import owner_of
from octollm.errors import OctoLLMError
from octollm.pagination import NewestFirstPagination
from tasks_app import presenting, services
from tasks_app.models import Plan, Step, Task, TaskEvent, TaskResult
from tasks_app.serializers import (
    AcceptedSerializer,
    EventPageSerializer,
    PlanSerializer,
    ResultSerializer,
    SubmitSerializer,
    TaskSerializer,
    TaskSummarySerializer,
)

EVENT_PAGE = 500


class NoPlanError(OctoLLMError):
    """The task has no plan yet."""

    code = "no_plan"
    http_status = 404


class SubmitView(APIView):
    """Submit a goal."""

    serializer_class = SubmitSerializer

    @extend_schema(
        request=SubmitSerializer,
        responses=AcceptedSerializer,
        parameters=[
            OpenApiParameter(
                "Idempotency-Key",
                str,
                OpenApiParameter.HEADER,
                description="The same key and body give the first answer again.",
            )
        ],
    )
    def post(self, request: Request) -> Response:
        """Screen the goal and accept it as a task."""
        serializer = SubmitSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        accepted = services.submit_task(
            owner_of(request), _submission(serializer.validated_data, request)
        )
        task = Task(pk=accepted.task_id)
        links = presenting.links_of(task)
        headers = {"Location": str(links["self"])}
        if accepted.is_replay:
            headers["Idempotency-Replayed"] = "true"
        return Response(
            {
                "task_id": str(accepted.task_id),
                "status": Task.Status.PENDING,
                "message": "The task was accepted.",
                "links": links,
            },
            headers=headers,
        )


def _submission(body: dict[str, Any], request: Request) -> services.Submission:
    texts = ("goal", "constraints", "acceptance_criteria", "context", "task_metadata")
    return services.Submission(
        texts={name: body[name] for name in texts},
        priority=body["priority"],
        **body["budget"],
        assigned_arm=body["assigned_arm"],
        idempotency_key=request.headers.get("Idempotency-Key"),
    )


class TaskFilter(django_filters.FilterSet):
    """What a list of tasks may be narrowed to."""

    status = django_filters.MultipleChoiceFilter(choices=Task.Status.choices)
    stage = django_filters.MultipleChoiceFilter(choices=Task.Stage.choices)
    priority = django_filters.MultipleChoiceFilter(choices=Task.Priority.choices)
    created_after = django_filters.IsoDateTimeFilter("created_at", "gte")
    created_before = django_filters.IsoDateTimeFilter("created_at", "lt")
    q = django_filters.CharFilter("goal", "icontains", label="Words of the goal")

    class Meta:
        """Nothing but what is named above."""

        model = Task
        fields: ClassVar[list[str]] = []


class TaskListView(APIView):
    """List the caller's tasks, newest first."""

    filterset_class = TaskFilter
    pagination_class = NewestFirstPagination
    PARAMETERS: ClassVar[set[str]] = {*TaskFilter.base_filters, "cursor", "page_size"}

    @extend_schema(
        responses=TaskSummarySerializer(many=True),
        parameters=[
            OpenApiParameter(name, str, description=filter_.label or "")
            for name, filter_ in TaskFilter.base_filters.items()
        ],
    )
    def get(self, request: Request) -> Response:
        """Return one page."""
        refuse_strange_parameters(request, self.PARAMETERS)
        filtered = TaskFilter(request.query_params, queryset=own_tasks(request))
        if not filtered.is_valid():
            raise ValidationError(filtered.errors)
        pagination = self.pagination_class()
        tasks = pagination.paginate_queryset(filtered.qs, request, self)
        return pagination.get_paginated_response(
            [presenting.present_task(task) for task in tasks]
        )


class TaskView(APIView):
    """Show one task."""

    @extend_schema(responses=TaskSerializer)
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the task with its latest result."""
        refuse_strange_parameters(request, set())
        task = own_task(request, task_id)
        result = TaskResult.objects.filter(task=task).order_by("-run").first()
        return Response(presenting.present_task_with_result(task, result))


class ResultsView(APIView):
    """Show a task's results."""

    @extend_schema(responses=ResultSerializer(many=True))
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return all results in a bare array, the oldest first."""
        task = own_task(request, task_id)
        results = TaskResult.objects.filter(task=task)
        return Response([presenting.present_result(task, row) for row in results])


class PlanView(APIView):
    """Show a task's plan."""

    @extend_schema(responses=PlanSerializer)
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the current version with its steps."""
        task = own_task(request, task_id)
        plan = Plan.objects.filter(task=task, version=task.plan_version).first()
        if plan is None:
            raise NoPlanError
        steps = list(Step.objects.filter(task=task, pk__in=plan.step_ids))
        return Response(presenting.present_plan(task, plan, steps))


class EventsView(APIView):
    """Show what happened to a task."""

    @extend_schema(
        responses=EventPageSerializer,
        parameters=[OpenApiParameter("after", int, description="The last seq seen.")],
    )
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the events behind ``after`` in their order."""
        refuse_strange_parameters(request, {"after"})
        task = own_task(request, task_id)
        after = _sequence_number(request.query_params.get("after", "0"))
        rows = list(
            TaskEvent.objects.filter(task=task, seq__gt=after).values(
                "seq", "type", "at", "data"
            )[: EVENT_PAGE + 1]
        )
        events, has_more = rows[:EVENT_PAGE], len(rows) > EVENT_PAGE
        here = request.build_absolute_uri()
        following = (
            replace_query_param(here, "after", events[-1]["seq"]) if has_more else None
        )
        return Response({"results": events, "next": following, "previous": None})


class CancelView(APIView):
    """Cancel a task."""

    @extend_schema(request=None, responses=TaskSerializer)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Stop the task; what it has so far stays as a partial result."""
        try:
            services.cancel_task(owner_of(request), task_id)
        except Task.DoesNotExist:
            raise Http404 from None
        task = own_task(request, task_id)
        result = TaskResult.objects.filter(task=task).order_by("-run").first()
        return Response(presenting.present_task_with_result(task, result))


# Helpers of these views ------------------------------------------------------------
def own_tasks(request: Request) -> QuerySet[Task]:
    """Return the caller's tasks without what no answer shows."""
    return Task.objects.filter(owner=owner_of(request)).defer(
        "context", "task_metadata"
    )


def own_task(request: Request, task_id: UUID) -> Task:
    """Return one of the caller's tasks, or answer 404."""
    task = own_tasks(request).filter(pk=task_id).first()
    if task is None:
        raise Http404
    return task


def refuse_strange_parameters(request: Request, known: set[str]) -> None:
    """Refuse query parameters that would be ignored.

    Raises:
        ValidationError: ``unsupported_field`` for what the API names and this
            version does not have, ``unknown_field`` for the rest.
    """
    for name in request.query_params:
        if name in ("wait",):
            detail = ErrorDetail("Not supported yet.", "unsupported_field")
            raise ValidationError({name: [detail]})
        if name not in {*known, "format"}:
            detail = ErrorDetail("A query parameter is not known.", "unknown_field")
            raise ValidationError({"query": [detail]})


def _sequence_number(text: str) -> int:
    if text.isascii() and text.isdecimal() and len(text) < 10:
        return int(text)
    detail = ErrorDetail("Must be a number from 0.", "invalid")
    raise ValidationError({"after": [detail]})
