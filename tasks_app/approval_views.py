"""Approving and rejecting plans over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias
from uuid import UUID

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from octollm.access.callers import owner_of
from octollm.api import PROBLEM_JSON
from octollm.openapi import ProblemSerializer
from octollm.serializers import StrictSerializer
from tasks_app import approvals, presenting
from tasks_app.approval_serializers import MAX_COMMENT
from tasks_app.approvals import Answer, Decider
from tasks_app.models import Task, TaskResult
from tasks_app.serializers import GivenPlanSerializer, TaskSerializer

_Decide: TypeAlias = Callable[[UUID, Decider, Answer], None]
_RESPONSES: dict[Any, Any] = {
    200: TaskSerializer,
    (409, PROBLEM_JSON): ProblemSerializer,
}


class _AnswerSerializer(StrictSerializer):
    """What both answers may say."""

    digest = serializers.CharField(
        max_length=64,
        required=False,
        allow_null=True,
        default=None,
        help_text="What the task showed; another one is refused (approval_changed).",
    )
    comment = serializers.CharField(
        max_length=MAX_COMMENT, allow_blank=True, default="", trim_whitespace=False
    )


class ApproveSerializer(_AnswerSerializer):
    """The body of an approval."""

    plan_version = serializers.IntegerField(
        min_value=1,
        max_value=2**31 - 1,
        help_text="The version that was looked at; another one is refused.",
    )
    plan = GivenPlanSerializer(
        required=False,
        allow_null=True,
        default=None,
        help_text="Run this one instead: it is screened and checked like any other.",
    )


class RejectSerializer(_AnswerSerializer):
    """The body of a rejection."""

    plan_version = serializers.IntegerField(
        min_value=1,
        max_value=2**31 - 1,
        required=False,
        allow_null=True,
        default=None,
        help_text="Only this version; left out, whichever waits.",
    )


APPROVE_EXAMPLE = OpenApiExample(
    "Approve what was shown",
    value={"plan_version": 1, "comment": "Looks right."},
    request_only=True,
)


class ApproveView(APIView):
    """Approve a plan."""

    serializer_class = ApproveSerializer

    @extend_schema(
        operation_id="task_approve",
        request=ApproveSerializer,
        responses=_RESPONSES,
        examples=[APPROVE_EXAMPLE],
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        """Let the plan that waits run, or the one that comes with this."""
        return _answered(request, task_id, ApproveSerializer, approvals.approve)


class RejectView(APIView):
    """Reject a plan."""

    serializer_class = RejectSerializer

    @extend_schema(
        operation_id="task_reject", request=RejectSerializer, responses=_RESPONSES
    )
    def post(self, request: Request, task_id: UUID) -> Response:
        """Cancel the task whose plan waits."""
        return _answered(request, task_id, RejectSerializer, approvals.reject)


def _answered(
    request: Request,
    task_id: UUID,
    serializer_class: type[StrictSerializer],
    decide: _Decide,
) -> Response:
    serializer = serializer_class(data=request.data)
    serializer.is_valid(raise_exception=True)
    body: dict[str, Any] = serializer.validated_data
    decider = decider_of(request)
    try:
        decide(task_id, decider, Answer(**body))
        task = Task.objects.get(pk=task_id)
    except Task.DoesNotExist:
        raise Http404 from None
    result = TaskResult.objects.filter(task=task).order_by("-run").first()
    # Operators see other people's values in the console only, if at all.
    is_own = decider.owner is not None and task.owner_id == decider.owner.pk
    return Response(presenting.present_task_with_result(task, result, is_own=is_own))


def decider_of(request: Request) -> Decider:
    """Return who answers: an account that may, for everybody, or an owner."""
    name, owner = str(request.user.get_username()), owner_of(request)
    if request.user.has_perm(approvals.PERMISSION):
        return Decider.operator(name, owner=owner)
    return Decider(name=name, owner=owner)
