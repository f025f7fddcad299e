"""The shapes of approvals: how one is asked for, and how one stands."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from tasks_app.approvals import normalised
from tasks_app.models import Approval

MAX_COMMENT = 2_000
# Dollars from 0 to 100 with six places at most.
MODE = r"\A(?:never|always|above:(?:100(?:\.0{1,6})?|[0-9]{1,2}(?:\.[0-9]{1,6})?))\Z"


class ApprovalModeField(serializers.RegexField):
    """Whether a person is asked before a plan runs."""

    def __init__(self, **kwargs: Any) -> None:
        """Know the three forms."""
        super().__init__(
            MODE,
            error_messages={
                "invalid": "Must be never, always or above: and dollars, such as "
                "above:0.50; 0 to 100, six places at most."
            },
            help_text="never; always; or above:DOLLARS, when the plan's estimate (all "
            "steps that have yet to run, and judging; not the planning that is paid "
            "already) is higher. Unless it is never, a plan that wants more than the "
            "operator's policy allows is not refused: an operator is asked.",
            **kwargs,
        )

    def run_validation(self, data: Any = serializers.empty) -> str:
        """Return the short form: 0.5 and 0.50 are one amount."""
        return normalised(str(super().run_validation(data)))


class ApprovalSerializer(serializers.Serializer[Any]):
    """The latest question whether a plan may run, and its answer."""

    state = serializers.ChoiceField(choices=Approval.State.choices)
    plan_version = serializers.IntegerField()
    digest = serializers.CharField(
        help_text="Of the plan's steps, inputs and grants; send it back to approve."
    )
    reason = serializers.ChoiceField(choices=Approval.Reason.choices)
    needs_operator = serializers.BooleanField(
        help_text="The plan goes beyond the policy: a key cannot approve it."
    )
    beyond = serializers.ListField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="What it wants beyond policy or earlier grants: [kind, name].",
    )
    estimated_cost_usd = serializers.DecimalField(max_digits=12, decimal_places=6)
    requested_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField()
    decided_at = serializers.DateTimeField(allow_null=True)
    decided_by = serializers.CharField(allow_null=True)
    comment = serializers.CharField(allow_null=True)
