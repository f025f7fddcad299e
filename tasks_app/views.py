"""The public API of tasks: parse, call one function, present."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.http import Http404
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from octollm.access.callers import name_of, owner_of
from octollm.api import PROBLEM_JSON
from octollm.errors import NoPlanError
from octollm.openapi import ProblemSerializer
from octollm.pagination import NewestFirstPagination
from octollm.serializers import query_of, refuse_body
from tasks_app import deletion, ledger_read, presenting, services
from tasks_app.ledger_serializers import LedgerQuerySerializer, LedgerSerializer
from tasks_app.models import EventCheckpoint, Plan, Step, Task, TaskEvent, TaskResult
from tasks_app.planning import NEVER
from tasks_app.serializers import (
    PLAN_EXAMPLE,
    SUBMIT_EXAMPLE,
    AcceptedSerializer,
    EventPageSerializer,
    EventQuerySerializer,
    PlanQuerySerializer,
    PlanSerializer,
    ResultSerializer,
    SubmitSerializer,
    TaskQuerySerializer,
    TaskSerializer,
    TaskShowQuerySerializer,
    TaskSummarySerializer,
)

EVENT_PAGE = 500


class SubmitView(APIView):
    """Submit a goal."""

    serializer_class = SubmitSerializer

    @extend_schema(
        request=SubmitSerializer,
        responses={
            200: AcceptedSerializer,
            (402, PROBLEM_JSON): ProblemSerializer,
        },
        examples=[SUBMIT_EXAMPLE, PLAN_EXAMPLE],
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
            owner_of(request),
            submission_of(
                serializer.validated_data, key=request.headers.get("Idempotency-Key")
            ),
        )
        return accepted_response(accepted)


class TaskListView(APIView):
    """List the caller's tasks, newest first."""

    pagination_class = NewestFirstPagination

    @extend_schema(
        responses=TaskSummarySerializer(many=True), parameters=[TaskQuerySerializer]
    )
    def get(self, request: Request) -> Response:
        """Return one page."""
        query = query_of(request, TaskQuerySerializer)
        pagination = self.pagination_class()
        latest = TaskResult.objects.filter(task=OuterRef("pk")).order_by("-run")
        rows = narrowed(own_tasks(request), query).annotate(
            latest_confidence=Subquery(latest.values("confidence")[:1])
        )
        return pagination.get_paginated_response(
            [
                presenting.present_listed(task, confidence=task.latest_confidence)
                for task in pagination.paginate_queryset(rows, request, self)
            ]
        )


class TaskView(APIView):
    """Show one task, or delete it."""

    @extend_schema(responses=TaskSerializer)
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the task with its latest result."""
        query_of(request, TaskShowQuerySerializer)
        task = own_task(request, task_id)
        result = TaskResult.objects.filter(task=task).order_by("-run").first()
        return Response(presenting.present_task_with_result(task, result))

    @extend_schema(
        responses={
            status.HTTP_204_NO_CONTENT: None,
            (status.HTTP_409_CONFLICT, PROBLEM_JSON): ProblemSerializer,
        }
    )
    def delete(self, request: Request, task_id: UUID) -> Response:
        """Delete an ended task for good, with all that was kept of it."""
        query_of(request)
        refuse_body(request)
        try:
            deletion.delete_task(
                task_id, owner=owner_of(request), deleted_by=name_of(request)
            )
        except Task.DoesNotExist:
            raise Http404 from None
        return Response(status=status.HTTP_204_NO_CONTENT)


class ResultsView(APIView):
    """Show a task's results."""

    @extend_schema(responses=ResultSerializer(many=True))
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return all results in a bare array, the oldest first."""
        query_of(request)
        task = own_task(request, task_id)
        results = TaskResult.objects.filter(task=task)
        return Response([presenting.present_result(task, row) for row in results])


class PlanView(APIView):
    """Show a task's plan."""

    @extend_schema(responses=PlanSerializer, parameters=[PlanQuerySerializer])
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the current version, or the one that is named, with its steps."""
        query = query_of(request, PlanQuerySerializer)
        task = own_task(request, task_id)
        plans = list(Plan.objects.filter(task=task))
        wanted = query.get("version", task.plan_version)
        plan = next((each for each in plans if each.version == wanted), None)
        if plan is None:
            raise NoPlanError
        steps = list(Step.objects.filter(task=task).defer("output", "evidence"))
        versions = presenting.present_versions(plans, steps)
        shown = presenting.present_plan(task, plan, steps)
        return Response(shown | {"versions": versions})


class EventsView(APIView):
    """Show what happened to a task."""

    @extend_schema(responses=EventPageSerializer, parameters=[EventQuerySerializer])
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the events behind ``after`` in their order."""
        after = query_of(request, EventQuerySerializer)["after"]
        task = own_task(request, task_id)
        rows = list(
            TaskEvent.objects.filter(task=task, seq__gt=after)[: EVENT_PAGE + 1]
        )
        events, has_more = rows[:EVENT_PAGE], len(rows) > EVENT_PAGE
        here = request.build_absolute_uri()
        following = (
            replace_query_param(here, "after", events[-1].seq) if has_more else None
        )
        shown = [presenting.present_event(event) for event in events]
        page = {"results": shown, "next": following, "previous": None}
        return Response(page | {"removed_through": _removed_through(task)})


class LedgerView(APIView):
    """Show what a task may spend, holds and spent."""

    pagination_class = NewestFirstPagination

    @extend_schema(responses=LedgerSerializer, parameters=[LedgerQuerySerializer])
    def get(self, request: Request, task_id: UUID) -> Response:
        """Return the sums over all charges, and a page of the charges."""
        query_of(request, LedgerQuerySerializer)
        task = own_task(request, task_id)
        pagination = self.pagination_class()
        rows = ledger_read.charges_of(task)
        charges = pagination.paginate_queryset(rows, request, self)
        page = pagination.get_paginated_response(ledger_read.present_charges(charges))
        return Response(
            {
                "task_id": str(task.pk),
                **ledger_read.sums_of(task),
                "charges": page.data.pop("results"),
                **page.data,
            }
        )


class CancelView(APIView):
    """Cancel a task."""

    @extend_schema(request=None, responses=TaskSerializer)
    def post(self, request: Request, task_id: UUID) -> Response:
        """Stop the task; what it has so far stays as a partial result."""
        refuse_body(request)
        try:
            services.cancel_task(owner_of(request), task_id)
        except Task.DoesNotExist:
            raise Http404 from None
        task = own_task(request, task_id)
        result = TaskResult.objects.filter(task=task).order_by("-run").first()
        return Response(presenting.present_changed(task, result))


# Helpers of these views ------------------------------------------------------------
def submission_of(body: dict[str, Any], *, key: str | None) -> services.Submission:
    """Return what a validated body asks for, under an idempotency key."""
    return services.Submission(
        texts={name: body[name] for name in services.TEXTS},
        priority=body["priority"],
        **body["budget"],
        assigned_arm=body["assigned_arm"],
        plan_only=body["plan_only"],
        approval=body.get("approval", NEVER),
        idempotency_key=key,
    )


def accepted_response(accepted: services.Accepted) -> Response:
    """Answer that a task was accepted, now or by the same request before."""
    links = presenting.links_of(Task(pk=accepted.task_id))
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


def own_tasks(request: Request) -> QuerySet[Task]:
    """Return the caller's tasks without what no answer shows."""
    return Task.objects.filter(owner=owner_of(request)).defer(
        "context", "task_metadata", "given_plan"
    )


def own_task(request: Request, task_id: UUID) -> Task:
    """Return one of the caller's tasks, or answer 404."""
    task = own_tasks(request).filter(pk=task_id).first()
    if task is None:
        raise Http404
    return task


def _removed_through(task: Task) -> int:
    """Return the number of the last event that retention removed; 0: none."""
    if "events" not in task.removed_parts:
        return 0
    checkpoint = EventCheckpoint.objects.filter(pk=task.pk).first()
    return checkpoint.seq if checkpoint else 0


def narrowed(tasks: QuerySet[Task], query: dict[str, Any]) -> QuerySet[Task]:
    """Return the tasks that a query asks for."""
    for name in ("status", "stage", "priority"):
        if query[name]:
            tasks = tasks.filter(**{f"{name}__in": query[name]})
    for name, lookup in (
        ("created_after", "created_at__gte"),
        ("created_before", "created_at__lt"),
        ("q", "goal__icontains"),
    ):
        if name in query:
            tasks = tasks.filter(**{lookup: query[name]})
    return tasks
