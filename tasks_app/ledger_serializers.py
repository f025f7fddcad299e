"""The shape of a task's ledger in the public API; the values come from ``ledger_read``."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from octollm.serializers import StrictSerializer
from tasks_app.models import Charge
from tasks_app.serializers import AmountSerializer


class LedgerQuerySerializer(StrictSerializer):
    """Which charges of a ledger are shown."""

    format = serializers.CharField(required=False)
    cursor = serializers.CharField(required=False)
    page_size = serializers.CharField(required=False)


class OverrunsSerializer(AmountSerializer):
    """What calls used beyond what was held for them."""

    count = serializers.IntegerField(help_text="Of calls.")


class OwnerCapSerializer(serializers.Serializer[Any]):
    """How the owner stands in the month that the task counts in."""

    month = serializers.CharField(help_text="Such as 2026-11, UTC.")
    cap_usd = serializers.DecimalField(
        max_digits=18, decimal_places=9, allow_null=True, help_text="Null: lifted."
    )
    reserved_usd = serializers.DecimalField(max_digits=18, decimal_places=9)
    spent_usd = serializers.DecimalField(max_digits=18, decimal_places=9)
    left_usd = serializers.DecimalField(
        max_digits=18, decimal_places=9, allow_null=True
    )


class CountedSerializer(serializers.Serializer[Any]):
    """Sums over charges."""

    spent = AmountSerializer()
    held = AmountSerializer(help_text="By calls that are under way.")
    charges = serializers.IntegerField()
    replays = serializers.IntegerField(help_text="Replies taken again at no cost.")


class StepSumsSerializer(CountedSerializer):
    """What one step took."""

    step_id = serializers.CharField()
    kind = serializers.CharField()
    arm = serializers.CharField()
    envelope = AmountSerializer(help_text="Set aside for it still.")


class ModelSumsSerializer(CountedSerializer):
    """What one model took."""

    provider = serializers.CharField()
    model = serializers.CharField()


class PriceSerializer(serializers.Serializer[Any]):
    """USD per million tokens, and who says so."""

    input = serializers.DecimalField(max_digits=14, decimal_places=6)
    output = serializers.DecimalField(max_digits=14, decimal_places=6)
    cached = serializers.DecimalField(
        max_digits=14, decimal_places=6, allow_null=True, help_text="Null: as input."
    )
    source = serializers.CharField()  # type: ignore[assignment]  # a field's name
    version = serializers.CharField()


class ChargeSerializer(serializers.Serializer[Any]):
    """One paid call."""

    charge_id = serializers.UUIDField()
    step_id = serializers.CharField()
    attempt = serializers.IntegerField()
    nth = serializers.IntegerField(
        allow_null=True, help_text="Its number among equal calls of its attempt."
    )
    purpose = serializers.CharField()
    provider = serializers.CharField()
    model = serializers.CharField()
    rung = serializers.CharField()
    state = serializers.ChoiceField(choices=Charge.State.choices)
    held = AmountSerializer()
    settled = AmountSerializer()
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cached_tokens = serializers.IntegerField()
    price = PriceSerializer()
    is_estimated = serializers.BooleanField()
    is_unpriced = serializers.BooleanField()
    is_overrun = serializers.BooleanField()
    latency_seconds = serializers.FloatField(allow_null=True)
    replay_count = serializers.IntegerField()
    created_at = serializers.DateTimeField()
    settled_at = serializers.DateTimeField(allow_null=True)


class LedgerSerializer(serializers.Serializer[Any]):
    """What a task may spend, holds and spent; the sums over all charges always."""

    task_id = serializers.UUIDField()
    budget = AmountSerializer()
    spent = AmountSerializer()
    held = AmountSerializer(help_text="By calls under way, or set aside for steps.")
    free = AmountSerializer()
    overruns = OverrunsSerializer()
    unpriced_count = serializers.IntegerField()
    owner_cap = OwnerCapSerializer(allow_null=True)
    by_step = StepSumsSerializer(many=True)
    by_model = ModelSumsSerializer(many=True)
    charges = ChargeSerializer(many=True, help_text="One page, newest first.")
    next = serializers.CharField(allow_null=True)
    previous = serializers.CharField(allow_null=True)
