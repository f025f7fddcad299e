"""Arms that take calls from outside: the planner, and why the others do not."""

from __future__ import annotations

from typing import Any

from django.http import Http404
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from arms.registry import catalogue
from octollm.access.callers import owner_of
from octollm.api import PROBLEM_JSON, problem
from octollm.errors import ArmNotServedError, ResultRemovedError
from octollm.openapi import ProblemSerializer
from octollm.types import JSONObject
from planner.arm import answer_of
from tasks_app import planner_arm, presenting, services
from tasks_app.models import Task, TaskResult
from tasks_app.serializers import ContractSerializer
from tasks_app.views import submission_of

RETRY_AFTER_S = 2

CONTRACT_EXAMPLE = OpenApiExample(
    "The hand-over's contract",
    value={
        "task_id": "0198c5e2-0000-7000-8000-000000000000",
        "goal": "Analyze sentiment of product reviews",
        "constraints": ["No PII in output"],
        "acceptance_criteria": ["Sentiment score between -1 and 1"],
        "context": {"reviews": ["Great phone, I love it."]},
        "budget": {"max_cost_usd": 1.0, "max_time_seconds": 600},
    },
    request_only=True,
)


class PlannedStepSerializer(serializers.Serializer[Any]):
    """One step of a plan."""

    step_id = serializers.CharField()
    description = serializers.CharField()
    arm = serializers.CharField()
    capability = serializers.CharField()
    estimated_cost = serializers.FloatField(help_text="USD.")
    estimated_time = serializers.FloatField(help_text="Seconds, half stay below.")
    estimated_time_p90 = serializers.FloatField(help_text="Nine of ten stay below.")
    depends_on = serializers.ListField(child=serializers.CharField())
    input = serializers.DictField()
    criteria = serializers.ListField(child=serializers.IntegerField())


class PlannerAnswerSerializer(serializers.Serializer[Any]):
    """The planner's answer: the plan at the root."""

    task_id = serializers.CharField(help_text="As sent, or the planning task's own.")
    steps = PlannedStepSerializer(many=True)
    result = serializers.DictField()
    total_estimated_cost = serializers.FloatField(help_text="USD, of all steps.")
    total_estimated_time = serializers.FloatField(help_text="Of the longest chain.")
    total_estimated_time_p90 = serializers.FloatField(help_text="If steps are slow.")
    sum_estimated_time = serializers.FloatField(help_text="One after the other.")
    source = serializers.CharField()  # type: ignore[assignment]  # a field's name
    recipe = serializers.CharField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    prompt_version = serializers.CharField(allow_null=True)
    repairs = serializers.ListField(child=serializers.CharField())
    unserved = serializers.ListField()
    grants = serializers.DictField(help_text="What it uses: arms, tools, commands...")
    links = serializers.DictField(
        child=serializers.CharField(), help_text="Of the task that made the plan."
    )


class PlannerExecuteView(APIView):
    """Let the planner plan."""

    serializer_class = ContractSerializer

    @extend_schema(
        operation_id="planner_execute",
        request=ContractSerializer,
        responses={
            200: PlannerAnswerSerializer,
            **dict.fromkeys(
                ((code, PROBLEM_JSON) for code in (402, 409, 410, 422, 502, 504)),
                ProblemSerializer,
            ),
        },
        examples=[CONTRACT_EXAMPLE],
        parameters=[
            OpenApiParameter(
                name,
                str,
                OpenApiParameter.HEADER,
                description="The same id and body give the same plan; the first of "
                "Idempotency-Key and X-Request-Id counts.",
            )
            for name in ("Idempotency-Key", "X-Request-Id")
        ],
    )
    def post(self, request: Request) -> Response:
        """Return a plan for the contract; nothing is run."""
        serializer = ContractSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        body: dict[str, Any] = serializer.validated_data
        accepted, task = planner_arm.plan_for(
            owner_of(request), _submission(body, request)
        )
        links = presenting.links_of(Task(pk=accepted.task_id))
        headers = {"Location": str(links["self"])}
        if accepted.is_replay:
            headers["Idempotency-Replayed"] = "true"
        if task is None:
            return _unfinished(request, links, headers)
        if task.status != Task.Status.COMPLETED:
            return _failed(request, task, links, headers)
        answer = answer_of(_plan_of(task), task_id=body.get("task_id", task.pk))
        return Response({**answer, "links": links}, headers=headers)


class ArmExecuteView(APIView):
    """Say that an arm takes no calls from outside."""

    @extend_schema(exclude=True)
    def post(self, request: Request, name: str) -> Response:
        """Refuse, and say what to do instead."""
        if name not in {spec.name for spec in catalogue()}:
            raise Http404
        raise ArmNotServedError


def _submission(body: dict[str, Any], request: Request) -> services.Submission:
    metadata = dict(body["task_metadata"])
    if "task_id" in body:
        metadata["planner_task_id"] = str(body["task_id"])
    headers = (request.headers.get(n) for n in ("Idempotency-Key", "X-Request-Id"))
    key = next((value for value in headers if value is not None), None)
    wanted = {"task_metadata": metadata, "plan": None, "plan_only": True}
    return submission_of({**body, **wanted}, key=key)


def _plan_of(task: Task) -> JSONObject:
    """Return the plan as its owner may see it."""
    result = TaskResult.objects.filter(task=task).order_by("-run").first()
    if result is None:
        raise ResultRemovedError
    shown = presenting.present_result_data(task, result)
    plan = shown["plan"] if isinstance(shown, dict) else {}
    return plan if isinstance(plan, dict) else {}


def _unfinished(
    request: Request, links: JSONObject, headers: dict[str, str]
) -> Response:
    detail = (
        "The plan is not made yet. The task goes on: look at it, or ask again with "
        "the same Idempotency-Key."
    )
    return _problem(
        request,
        problem(request, status_code=503, code="arm_unavailable", detail=detail),
        {"links": links},
        headers,
    )


def _failed(
    request: Request, task: Task, links: JSONObject, headers: dict[str, str]
) -> Response:
    error = task.error or {
        "code": task.status,
        "message": f"The task is {task.status}.",
    }
    code = str(error["code"])
    more: JSONObject = {"links": links}
    if "violations" in error:
        more["violations"] = error["violations"]
    document = problem(
        request,
        status_code=planner_arm.STATUSES.get(code, 500),
        code=code,
        detail=str(error["message"]),
    )
    return _problem(request, document, more, headers)


def _problem(
    request: Request, document: JSONObject, more: JSONObject, headers: dict[str, str]
) -> Response:
    status = int(str(document["status"]))
    if status == 503:
        headers = headers | {"Retry-After": str(RETRY_AFTER_S)}
    # A browser gets the page that shows it.
    is_page = request.accepted_renderer.format == "api"
    return Response(
        {**document, **more},
        status=status,
        headers=headers,
        content_type=None if is_page else PROBLEM_JSON,
    )
