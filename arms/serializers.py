"""The shape of documents on their way in and out."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from arms.knowledge.documents import MAX_COLLECTION_LENGTH, MAX_TITLE_LENGTH
from octollm.serializers import StrictSerializer

MAX_DOCUMENTS = 100


class DocumentSerializer(StrictSerializer):
    """A document to be stored; without a title its first words are one."""

    collection = serializers.CharField(max_length=MAX_COLLECTION_LENGTH)
    title = serializers.CharField(
        max_length=MAX_TITLE_LENGTH, required=False, allow_blank=True, default=""
    )
    # As it is: offsets in citations count the white space in front, too.
    text = serializers.CharField(trim_whitespace=False, help_text="At most 1 MB.")
    metadata = serializers.DictField(required=False, default=dict)

    def validate_text(self, text: str) -> str:
        """Refuse a text of white space, as a blank one is."""
        if not text.strip():
            raise serializers.ValidationError("This may not be blank.", code="blank")
        return text


class DocumentListSerializer(serializers.ListSerializer[Any]):
    """Up to 100 documents at once."""

    child = DocumentSerializer()

    def __init__(self, **options: Any) -> None:
        """Set the limits, which DRF takes as arguments only."""
        options |= {"allow_empty": False, "max_length": MAX_DOCUMENTS}
        super().__init__(**options)


class DocumentQuerySerializer(StrictSerializer):
    """What a list of documents may be narrowed to."""

    format = serializers.CharField(required=False)
    cursor = serializers.CharField(required=False)
    page_size = serializers.CharField(required=False)
    collection = serializers.CharField(
        required=False, max_length=MAX_COLLECTION_LENGTH, help_text="In any case."
    )


# What is answered; these describe the schema --------------------------------------
class IngestedSerializer(serializers.Serializer[Any]):
    """Where a document is stored."""

    document_id = serializers.UUIDField()
    collection = serializers.CharField()
    chunks = serializers.IntegerField(help_text="Passages it was cut into.")
    duplicate_of = serializers.UUIDField(
        allow_null=True, help_text="The document that has the same content already."
    )


class DocumentSummarySerializer(serializers.Serializer[Any]):
    """A stored document without its text."""

    document_id = serializers.UUIDField()
    collection = serializers.CharField()
    title = serializers.CharField()
    metadata = serializers.DictField()
    length = serializers.IntegerField(help_text="Characters.")
    chunks = serializers.IntegerField()
    taint = serializers.ListField(
        child=serializers.CharField(), help_text="Suspicious text that was found."
    )
    created_at = serializers.DateTimeField()
