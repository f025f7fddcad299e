"""The shapes of what goes on from a task: more budget, a fork, a comparison."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiExample
from rest_framework import serializers
from rest_framework.exceptions import ErrorDetail, ValidationError
from rest_framework.fields import empty

from octollm.serializers import StrictSerializer
from tasks_app.fields import JSONObjectField, TextField
from tasks_app.models import Task
from tasks_app.serializers import (
    MAX_CONTEXT,
    MAX_GOAL,
    MAX_LINE,
    MAX_LIST,
    MAX_NAME,
    MAX_PLAN,
    MAX_PLAN_DEPTH,
    BudgetSerializer,
    SpentSerializer,
    is_deeper,
)

# Of a fork: what it changes of the one step, and of the request.
STEP_FIELDS = ("input", "arm", "capability")
TEXT_FIELDS = ("goal", "constraints", "acceptance_criteria", "context")

BUDGET_EXAMPLE = OpenApiExample(
    "Twice the tokens", value={"max_tokens": 20_000}, request_only=True
)
FORK_EXAMPLE = OpenApiExample(
    "From the second step, with other input",
    value={"from_step": "2", "input": {"texts": {"$from": "steps.1.texts"}}},
    request_only=True,
)
MISSING_INPUT_EXAMPLE = OpenApiExample(
    "With what it lacked",
    value={"context": {"reviews": ["Great phone, I love it."]}},
    request_only=True,
)


class BudgetChangeSerializer(BudgetSerializer):
    """The caps that change; what is left out stays as it is."""

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """Take the bounds of a submission, and none of its defaults."""
        names = super().get_fields()
        for field in names.values():
            field.required, field.default = False, empty
        return names


class RaiseSerializer(BudgetChangeSerializer):
    """The body of a raised budget."""

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Want at least one cap."""
        if not attrs:
            raise ValidationError("Name at least one cap to raise.", "required")
        return attrs


class ForkSerializer(StrictSerializer):
    """The body of a fork: what the new task does differently."""

    from_step = TextField(
        max_length=MAX_NAME,
        required=False,
        help_text="The step of the current plan from which it runs anew; what comes "
        "before keeps its output. Left out: all of it, by a new plan.",
    )
    input = JSONObjectField(
        limit=MAX_PLAN, required=False, help_text="In place of that step's input."
    )
    arm = TextField(max_length=MAX_NAME, required=False, help_text="For that step.")
    capability = TextField(
        max_length=MAX_NAME, required=False, help_text="For that step."
    )
    goal = TextField(max_length=MAX_GOAL, required=False)
    constraints = serializers.ListField(
        child=TextField(max_length=MAX_LINE), max_length=MAX_LIST, required=False
    )
    acceptance_criteria = serializers.ListField(
        child=TextField(max_length=MAX_LINE), max_length=MAX_LIST, required=False
    )
    context = JSONObjectField(  # type: ignore[assignment]  # a field's name, not the property
        limit=MAX_CONTEXT,
        required=False,
        help_text="Merged over the old one, key by key.",
    )
    budget = BudgetChangeSerializer(required=False)
    model = TextField(
        max_length=200,
        required=False,
        help_text="The only model that the new task's calls may ask; one that is set.",
    )

    def validate_input(self, value: Any) -> Any:
        """Refuse what is nested too deep to be a step's input."""
        if is_deeper(value, than=MAX_PLAN_DEPTH):
            raise ValidationError(
                f"Must be nested at most {MAX_PLAN_DEPTH} deep.", "too_deep"
            )
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse changes of a step that is not named."""
        lost = [] if "from_step" in attrs else [n for n in STEP_FIELDS if n in attrs]
        if lost:
            detail = ErrorDetail("from_step must name the step.", "needs_from_step")
            raise ValidationError({name: [detail] for name in lost})
        return attrs


# What is answered -------------------------------------------------------------------
class ComparedTaskSerializer(serializers.Serializer[Any]):
    """One of two tasks in figures."""

    task_id = serializers.UUIDField()
    status = serializers.ChoiceField(choices=Task.Status.choices)
    stop_reason = serializers.CharField()
    confidence = serializers.FloatField(allow_null=True)
    run = serializers.IntegerField()
    plan_version = serializers.IntegerField()
    forked_from = serializers.UUIDField(allow_null=True)
    forked_step = serializers.CharField(allow_null=True)
    model = serializers.CharField(allow_null=True)
    spent = SpentSerializer()
    steps_run = serializers.IntegerField(help_text="Work steps done by an arm.")
    steps_copied = serializers.IntegerField(help_text="Taken over from another task.")
    attempts = serializers.IntegerField(help_text="Of all steps, in all runs.")
    verdicts = serializers.DictField(
        child=serializers.IntegerField(), help_text="How many of each."
    )


class ComparedCriterionSerializer(serializers.Serializer[Any]):
    """What was found of one criterion or constraint; null: the task has it not."""

    kind = serializers.CharField()
    criterion = serializers.CharField()
    this = serializers.CharField(allow_null=True)
    other = serializers.CharField(allow_null=True)


class ComparedStepSerializer(serializers.Serializer[Any]):
    """A step that is not the same in both; null: the task has it not."""

    step_id = serializers.CharField()
    differs = serializers.ListField(
        child=serializers.CharField(),
        help_text="presence, input, arm, capability, model or status.",
    )
    this = serializers.DictField(allow_null=True)
    other = serializers.DictField(allow_null=True)


class ComparedKeySerializer(serializers.Serializer[Any]):
    """A key of the result that differs; the values where both are no list or object."""

    key = serializers.CharField()
    this = serializers.JSONField(required=False)
    other = serializers.JSONField(required=False)


class ComparisonSerializer(serializers.Serializer[Any]):
    """Two tasks side by side: ``this`` of the address, and the ``other``."""

    this = ComparedTaskSerializer()
    other = ComparedTaskSerializer()
    difference = SpentSerializer(help_text="What the other used more.")
    criteria = ComparedCriterionSerializer(many=True)
    steps = ComparedStepSerializer(many=True)
    result_keys = ComparedKeySerializer(many=True)
    better = serializers.ChoiceField(choices=["this", "other"], allow_null=True)
    why = serializers.CharField()
