"""The shapes of the service: what it takes and what it answers."""

from __future__ import annotations

from typing import Any

from django.core.validators import ProhibitNullCharactersValidator
from rest_framework import serializers

from octollm.serializers import StrictSerializer
from reflex.decide import Action, Checkpoint
from reflex.redact import Style
from reflex.windows import MAX_TEXT

MAX_USER_ID = 200


class TextField(serializers.CharField):
    """Any text, NUL characters too: nothing of it reaches the database."""

    def __init__(self, **options: Any) -> None:
        """Leave out the validator that refuses them."""
        super().__init__(**options)
        self.validators = [
            each
            for each in self.validators
            if not isinstance(each, ProhibitNullCharactersValidator)
        ]


class WishSerializer(StrictSerializer):
    """A text and what to look for in it."""

    text = TextField(
        max_length=MAX_TEXT,
        trim_whitespace=False,
        help_text="Up to 100,000 characters; positions in the answer count them.",
    )
    check_pii = serializers.BooleanField(default=True)
    check_injection = serializers.BooleanField(default=True)
    checkpoint = serializers.ChoiceField(
        [c.value for c in Checkpoint], default=Checkpoint.REQUEST.value
    )
    redaction = serializers.ChoiceField(
        [s.value for s in Style], default=Style.PLACEHOLDER.value
    )
    use_cache = serializers.BooleanField(default=True)
    user_id = serializers.CharField(
        required=False,
        allow_blank=True,
        allow_null=True,
        max_length=MAX_USER_ID,
        help_text="For whom the caller asks; counted towards a limit, never kept.",
    )


class ValueMatchSerializer(serializers.Serializer[Any]):
    """A value that was found, by its place."""

    type = serializers.CharField()
    start = serializers.IntegerField(help_text="First character (code point).")
    end = serializers.IntegerField(help_text="The one after the last.")
    rule = serializers.CharField()
    severity = serializers.ChoiceField(["low", "medium", "high"])
    confidence = serializers.FloatField(min_value=0, max_value=1)


class AttackMatchSerializer(serializers.Serializer[Any]):
    """An attack that was found, by its place."""

    family = serializers.CharField()
    severity = serializers.ChoiceField(["low", "medium", "high"])
    start = serializers.IntegerField()
    end = serializers.IntegerField()
    rule = serializers.CharField()


class ProcessedSerializer(serializers.Serializer[Any]):
    """What is in a text, and the text without it."""

    request_id = serializers.UUIDField()
    status = serializers.CharField(help_text="success, or blocked by the policy.")
    action = serializers.ChoiceField([a.value for a in Action])
    pii_detected = serializers.BooleanField()
    pii_matches = ValueMatchSerializer(many=True)
    injection_detected = serializers.BooleanField()
    injection_matches = AttackMatchSerializer(many=True)
    literal_matches = ValueMatchSerializer(
        many=True, help_text="What looks like one of our own placeholders."
    )
    redacted_text = serializers.CharField()
    ruleset_version = serializers.CharField()
    cache_hit = serializers.BooleanField()
    processing_time_ms = serializers.FloatField()
