"""The shapes of the public API of tasks; shape only, no decisions."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any, ClassVar

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers

from octollm.serializers import NothingSerializer, StrictSerializer
from tasks_app.approval_serializers import ApprovalModeField, ApprovalSerializer
from tasks_app.fields import JSONObjectField, MomentField, TextField
from tasks_app.models import Task
from tasks_app.planning import NEVER

MAX_GOAL = 10_000
MAX_CONTEXT = 50_000
MAX_METADATA = 10_000
MAX_LIST = 20
MAX_LINE = 2_000
MAX_PLAN = 64_000
MAX_PLAN_DEPTH = 20
MAX_PLAN_STEPS = 100
MAX_NAME = 64


class BudgetSerializer(StrictSerializer):
    """What a task may use at most."""

    max_cost_usd = serializers.DecimalField(
        max_digits=12,
        decimal_places=6,
        min_value=Decimal(0),
        max_value=Decimal(100),
        default=Decimal(1),
        help_text="Dollars, 0 to 100.",
    )
    max_time_seconds = serializers.IntegerField(
        min_value=1, max_value=3600, default=600, help_text="Seconds, 1 to 3,600."
    )
    max_tokens = serializers.IntegerField(
        min_value=1,
        max_value=100_000,
        default=10_000,
        help_text="Model tokens, 1 to 100,000.",
    )


SUBMIT_EXAMPLE = OpenApiExample(
    "Sentiment of three reviews",
    value={
        "goal": "Analyze sentiment of these reviews",
        "constraints": ["No PII"],
        "acceptance_criteria": ["Sentiment score between -1 and 1"],
        "context": {
            "reviews": [
                "Great phone, I love it.",
                "The screen broke after a week.",
                "It is a phone.",
            ]
        },
    },
    request_only=True,
)


PLAN_EXAMPLE = OpenApiExample(
    "A plan of one's own, priced and not run",
    value={
        "goal": "How do people like the phone?",
        "context": {"reviews": ["Great phone, I love it.", "It broke after a week."]},
        "plan": {
            "steps": [
                {
                    "step_id": "1",
                    "description": "Find the mood of each review",
                    "arm": "analyst",
                    "capability": "sentiment",
                    "input": {"texts": {"$from": "context.reviews"}},
                }
            ],
            "result": {"score": {"$from": "steps.1.sentiment_score"}},
        },
        "plan_only": True,
    },
    request_only=True,
)


class GivenStepSerializer(StrictSerializer):
    """One step of a caller's plan."""

    ignored_fields = frozenset(
        {
            *("kind", "status", "attempt_count", "confidence", "error"),
            *("copied_from", "attempts"),
            *("estimated_cost", "estimated_time", "estimated_time_p90"),
            *("started_at", "finished_at"),
        }
    )

    step_id = TextField(max_length=MAX_NAME)
    description = serializers.CharField(
        max_length=MAX_LINE, allow_blank=True, default="", trim_whitespace=False
    )
    arm = TextField(max_length=MAX_NAME, help_text="An arm's name, see /arms.")
    capability = TextField(max_length=MAX_NAME, help_text="One of the arm's.")
    depends_on = serializers.ListField(
        child=TextField(max_length=MAX_NAME), max_length=MAX_PLAN_STEPS, default=list
    )
    input = JSONObjectField(
        limit=MAX_PLAN,
        default=dict,
        help_text='Values, or references: {"$from": "context.KEY"}, {"$from": '
        '"steps.ID.KEY"}, {"$from": "goal"}.',
    )
    criteria = serializers.ListField(
        # Too short to be taken for a card's number and concealed.
        child=serializers.IntegerField(min_value=0, max_value=999),
        max_length=MAX_LIST,
        default=list,
        help_text="Indexes of the acceptance criteria that it serves.",
    )


class GivenPlanSerializer(StrictSerializer):
    """A caller's plan; what /tasks/{id}/plan answers is one, sent back as it is."""

    default_error_messages: ClassVar[dict[str, Any]] = {
        "too_long": f"Must be at most {MAX_PLAN} characters of JSON.",
        "too_deep": f"Must be nested at most {MAX_PLAN_DEPTH} deep.",
    }
    ignored_fields = frozenset(
        {
            *("task_id", "version", "source", "recipe", "model", "prompt_version"),
            *("repairs", "unserved", "grants", "created_at", "links"),
            *("total_estimated_cost", "total_estimated_time", "sum_estimated_time"),
            *("total_estimated_time_p90", "beyond", "versions"),
        }
    )

    steps = serializers.ListField(
        child=GivenStepSerializer(), max_length=MAX_PLAN_STEPS
    )
    result = JSONObjectField(
        limit=MAX_PLAN,
        default=dict,
        help_text="Keys of the result and the references that fill them; the outputs "
        "of the last steps when empty.",
    )

    def to_internal_value(self, data: Any) -> Any:
        """Return the steps and the result; the judge's step is added by the system."""
        if isinstance(data, dict):
            self._check_size(data)
            data = {
                name: _without_judge(value) if name == "steps" else value
                for name, value in data.items()
            }
        return super().to_internal_value(data)

    def _check_size(self, data: dict[str, Any]) -> None:
        text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
        if len(text) > MAX_PLAN:
            self.fail("too_long")
        if is_deeper(data, than=MAX_PLAN_DEPTH):
            self.fail("too_deep")


def _without_judge(steps: Any) -> Any:
    if not isinstance(steps, list):
        return steps
    return [
        step
        for step in steps
        if not (isinstance(step, dict) and step.get("kind") == "judge")
    ]


def is_deeper(value: Any, *, than: int) -> bool:
    """Say whether lists and objects are nested deeper than ``than`` levels."""
    level = [value]
    for _ in range(than + 1):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
    return bool(level)


class RequestSerializer(StrictSerializer):
    """What is wanted, from what, and within which limits."""

    goal = TextField(max_length=MAX_GOAL, help_text="What is wanted, in plain words.")
    constraints = serializers.ListField(
        child=TextField(max_length=MAX_LINE), max_length=MAX_LIST, default=list
    )
    acceptance_criteria = serializers.ListField(
        child=TextField(max_length=MAX_LINE), max_length=MAX_LIST, default=list
    )
    context = JSONObjectField(  # type: ignore[assignment]  # a field's name, not the property
        limit=MAX_CONTEXT, default=dict, help_text="Texts and tables to work on."
    )
    priority = serializers.ChoiceField(
        choices=Task.Priority.choices, default=Task.Priority.MEDIUM
    )
    budget = BudgetSerializer(required=False, allow_null=True)
    task_metadata = JSONObjectField(limit=MAX_METADATA, default=dict)
    assigned_arm = TextField(
        max_length=MAX_NAME, required=False, allow_null=True, default=None
    )

    def validate_budget(self, value: dict[str, Any] | None) -> dict[str, Any]:
        """Take the defaults for a budget that is null."""
        return value or _default_budget()

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Take the defaults for a budget that is missing."""
        attrs.setdefault("budget", _default_budget())
        return attrs


class SubmitSerializer(RequestSerializer):
    """The body of a submission."""

    approval = ApprovalModeField(default=NEVER)
    plan_only = serializers.BooleanField(
        default=False, help_text="Plan and price it; run nothing."
    )
    plan = GivenPlanSerializer(
        required=False,
        allow_null=True,
        default=None,
        help_text="Your own plan, checked like any other.",
    )


class ContractSerializer(RequestSerializer):
    """The body of a call of the planner: the hand-over's TaskContract."""

    task_id = serializers.UUIDField(
        required=False, help_text="Your own name for it; comes back in the answer."
    )


def _default_budget() -> dict[str, Any]:
    serializer = BudgetSerializer(data={})
    serializer.is_valid(raise_exception=True)
    budget: dict[str, Any] = serializer.validated_data
    return budget


class TaskShowQuerySerializer(NothingSerializer):
    """The query of one task."""

    unsupported_fields = frozenset({"wait"})


class TaskQuerySerializer(StrictSerializer):
    """What a list of tasks may be narrowed to; a choice may be given repeatedly."""

    format = serializers.CharField(required=False)
    cursor = serializers.CharField(required=False)
    page_size = serializers.CharField(required=False)
    status = serializers.MultipleChoiceField(choices=Task.Status.choices, default=set)
    stage = serializers.MultipleChoiceField(choices=Task.Stage.choices, default=set)
    priority = serializers.MultipleChoiceField(
        choices=Task.Priority.choices, default=set
    )
    created_after = MomentField(required=False)
    created_before = MomentField(required=False)
    q = serializers.CharField(required=False, max_length=200)


class EventQuerySerializer(StrictSerializer):
    """Where a list of events goes on."""

    format = serializers.CharField(required=False)
    after = serializers.IntegerField(
        min_value=0, max_value=2**31 - 1, default=0, help_text="The last seq seen."
    )


class PlanQuerySerializer(StrictSerializer):
    """Which version of a plan is meant."""

    format = serializers.CharField(required=False)
    version = serializers.IntegerField(
        min_value=1,
        max_value=2**31 - 1,
        required=False,
        help_text="The current one if none is named.",
    )


# What is answered; these describe the schema, the values are made in presenting.py ---
class AcceptedSerializer(serializers.Serializer[Any]):
    """The answer to a submission."""

    task_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Task.Status.choices)
    message = serializers.CharField()
    links = serializers.DictField(child=serializers.CharField())


class AmountSerializer(serializers.Serializer[Any]):
    """Dollars and tokens."""

    cost_usd = serializers.DecimalField(max_digits=18, decimal_places=9)
    tokens = serializers.IntegerField()


class SpentSerializer(AmountSerializer):
    """What a task used so far."""

    seconds = serializers.FloatField()


class ErrorSerializer(serializers.Serializer[Any]):
    """Why a task failed."""

    code = serializers.CharField()
    message = serializers.CharField()
    violations = serializers.ListField(
        child=serializers.CharField(),
        required=False,
        help_text="With invalid_plan: one sentence per broken rule, its id first.",
    )
    replan_error = serializers.DictField(
        required=False,
        help_text="Why no better plan came of it: code, message, violations.",
    )


class TaskSummarySerializer(serializers.Serializer[Any]):
    """A task without its result, as it stands in a list."""

    task_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Task.Status.choices)
    stage = serializers.ChoiceField(choices=Task.Stage.choices)
    goal = serializers.CharField()
    priority = serializers.ChoiceField(choices=Task.Priority.choices)
    constraints = serializers.ListField(child=serializers.CharField())
    acceptance_criteria = serializers.ListField(child=serializers.CharField())
    budget = BudgetSerializer()
    spent = SpentSerializer()
    confidence = serializers.FloatField(allow_null=True)
    error = ErrorSerializer(allow_null=True)
    stop_reason = serializers.CharField()
    plan_only = serializers.BooleanField()
    approval_mode = serializers.CharField(help_text="As submitted: never, always, ...")
    run = serializers.IntegerField()
    plan_version = serializers.IntegerField()
    forked_from = serializers.UUIDField(allow_null=True)
    forked_step = serializers.CharField(allow_null=True)
    model = serializers.CharField(
        allow_null=True,
        help_text="The only one that its calls may ask, if it is bound.",
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)
    removed_parts = serializers.ListField(
        child=serializers.ChoiceField(
            choices=("events", "results", "vault", "vault_key")
        ),
        help_text="What retention has removed since, and vault_key if the vault cannot "
        "be read; without the vault placeholders stay as they are.",
    )
    links = serializers.DictField(child=serializers.CharField())


class CancellationSerializer(serializers.Serializer[Any]):
    """The receipt of a cancellation."""

    state = serializers.ChoiceField(
        choices=["requested", "aborted", "settled"],
        help_text="aborted: nothing runs any more; settled: each call is booked.",
    )
    requested_at = serializers.DateTimeField()
    aborted_at = serializers.DateTimeField(allow_null=True)
    settled_at = serializers.DateTimeField(allow_null=True)
    calls_in_flight = serializers.IntegerField()
    spent_before = AmountSerializer()
    spent_after = AmountSerializer()


class TaskSerializer(TaskSummarySerializer):
    """A task with its latest result."""

    cancellation = CancellationSerializer(allow_null=True)
    approval = ApprovalSerializer(
        allow_null=True, help_text="The latest question; null when none was asked."
    )
    result = serializers.DictField(allow_null=True)


class ResultSerializer(serializers.Serializer[Any]):
    """One result."""

    id = serializers.UUIDField()
    result_data = serializers.DictField()
    confidence = serializers.FloatField(allow_null=True)
    created_at = serializers.DateTimeField()
    run = serializers.IntegerField()
    plan_version = serializers.IntegerField()


class AttemptSerializer(serializers.Serializer[Any]):
    """One try of a step."""

    number = serializers.IntegerField(help_text="Repeated by one that did not count.")
    outcome = serializers.CharField()
    error_code = serializers.CharField(allow_null=True)
    instance = serializers.CharField(allow_null=True, help_text="Where it was done.")
    reason = serializers.CharField(allow_null=True, help_text="Why there.")
    queued_s = serializers.FloatField(
        allow_null=True, help_text="From the step's being due until the try began."
    )
    started_at = serializers.DateTimeField()
    finished_at = serializers.DateTimeField(allow_null=True)


class StepSerializer(serializers.Serializer[Any]):
    """One step of a plan and how far it is."""

    step_id = serializers.CharField()
    kind = serializers.CharField()
    description = serializers.CharField()
    arm = serializers.CharField()
    capability = serializers.CharField()
    depends_on = serializers.ListField(child=serializers.CharField())
    input = serializers.DictField()
    criteria = serializers.ListField(child=serializers.IntegerField())
    estimated_cost = serializers.DecimalField(max_digits=12, decimal_places=6)
    estimated_time = serializers.FloatField()
    estimated_time_p90 = serializers.FloatField()
    status = serializers.CharField()
    attempt_count = serializers.IntegerField()
    attempts = AttemptSerializer(many=True)
    copied_from = serializers.DictField(
        allow_null=True,
        help_text="Of a fork: the task and the step that the output was taken from.",
    )
    confidence = serializers.FloatField(allow_null=True)
    error = ErrorSerializer(allow_null=True)
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)


class DifferenceSerializer(serializers.Serializer[Any]):
    """Ids of work steps, against the version before."""

    kept = serializers.ListField(child=serializers.CharField())
    new = serializers.ListField(child=serializers.CharField())
    superseded = serializers.ListField(child=serializers.CharField())


class PlanVersionSerializer(serializers.Serializer[Any]):
    """One version of a task's plan."""

    version = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]  # a field's name
    reason = serializers.CharField(
        help_text="first, criteria_not_met, work_failed, retry, ..."
    )
    run = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    diff = DifferenceSerializer()


class PlanSerializer(serializers.Serializer[Any]):
    """A plan version, and what others there are."""

    task_id = serializers.UUIDField()
    version = serializers.IntegerField()
    source = serializers.CharField()  # type: ignore[assignment]  # a field's name
    recipe = serializers.CharField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    prompt_version = serializers.CharField(allow_null=True)
    steps = StepSerializer(many=True)
    result = serializers.DictField()
    repairs = serializers.ListField(child=serializers.CharField())
    unserved = serializers.ListField()
    total_estimated_cost = serializers.DecimalField(max_digits=12, decimal_places=6)
    total_estimated_time = serializers.FloatField()
    sum_estimated_time = serializers.FloatField()
    created_at = serializers.DateTimeField()
    versions = PlanVersionSerializer(many=True)


class EventSerializer(serializers.Serializer[Any]):
    """One change of a task."""

    seq = serializers.IntegerField()
    type = serializers.CharField()
    at = serializers.DateTimeField()
    data = serializers.DictField()  # type: ignore[assignment]  # a field's name


class EventPageSerializer(serializers.Serializer[Any]):
    """Events in the order of their numbers; ``next`` goes on behind the last."""

    results = EventSerializer(many=True)
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
    removed_through = serializers.IntegerField(
        help_text="Events up to this seq were removed by retention; 0: none."
    )
