"""The public API of documents: parse, call one function, present."""

from __future__ import annotations

from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet
from django.http import Http404
from drf_spectacular.utils import PolymorphicProxySerializer, extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import BaseSerializer
from rest_framework.views import APIView

from arms.knowledge import documents
from arms.knowledge.documents import NewDocument
from arms.knowledge.models import Document
from arms.serializers import (
    DocumentListSerializer,
    DocumentQuerySerializer,
    DocumentSerializer,
    DocumentSummarySerializer,
    IngestedSerializer,
)
from octollm.access.callers import owner_of
from octollm.pagination import NewestFirstPagination
from octollm.serializers import query_of, refuse_body
from octollm.types import JSONObject
from reflex.vault import reveal

_ONE_OR_MANY = PolymorphicProxySerializer(
    component_name="DocumentOrDocuments",
    serializers=[DocumentSerializer, DocumentSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)
_ONE_OR_MANY_INGESTED = PolymorphicProxySerializer(
    component_name="IngestedOrIngestedDocuments",
    serializers=[IngestedSerializer, IngestedSerializer(many=True)],
    resource_type_field_name=None,
    many=False,
)


class DocumentListView(APIView):
    """Take documents in and list them."""

    accepts_list: ClassVar[bool] = True
    serializer_class = DocumentSerializer
    pagination_class = NewestFirstPagination

    @property
    def max_body_bytes(self) -> int:
        """Return how large a body the parser reads here."""
        return int(settings.OCTOLLM_MAX_DOCUMENTS_BODY_BYTES)

    @extend_schema(request=_ONE_OR_MANY, responses=_ONE_OR_MANY_INGESTED)
    def post(self, request: Request) -> Response:
        """Store a document, or all of a list; none of it when one is refused."""
        is_list = isinstance(request.data, list)
        serializer: BaseSerializer[Any] = (
            DocumentListSerializer(data=request.data)
            if is_list
            else DocumentSerializer(data=request.data)
        )
        serializer.is_valid(raise_exception=True)
        given = serializer.validated_data
        ingested = documents.ingest_all(
            owner_of(request).pk,
            [NewDocument(**fields) for fields in (given if is_list else [given])],
        )
        answers = [answer.as_json() for answer in ingested]
        return Response(answers if is_list else answers[0])

    @extend_schema(
        responses=DocumentSummarySerializer(many=True),
        parameters=[DocumentQuerySerializer],
    )
    def get(self, request: Request) -> Response:
        """Return one page of the caller's documents, newest first."""
        query = DocumentQuerySerializer(data=request.query_params)
        query.is_valid(raise_exception=True)
        pagination = self.pagination_class()
        rows = pagination.paginate_queryset(
            _narrowed(request, query.validated_data), request, self
        )
        counts = documents.chunk_counts(row.pk for row in rows)
        return pagination.get_paginated_response(
            [_present(row, chunk_count=counts.get(row.pk, 0)) for row in rows]
        )


class DocumentView(APIView):
    """One document."""

    @extend_schema(responses={status.HTTP_204_NO_CONTENT: None})
    def delete(self, request: Request, document_id: UUID) -> Response:
        """Delete the document and its passages."""
        query_of(request)
        refuse_body(request)
        if not documents.delete(owner_of(request).pk, document_id):
            raise Http404
        return Response(status=status.HTTP_204_NO_CONTENT)


def _narrowed(request: Request, query: dict[str, Any]) -> QuerySet[Document]:
    """Return the caller's documents that the query asks for, without their texts."""
    rows = Document.objects.filter(owner_scope=owner_of(request).pk).defer("text")
    if "collection" in query:
        rows = rows.filter(collection__iexact=query["collection"])
    return rows


def _present(row: Document, *, chunk_count: int) -> JSONObject:
    """Return a document as its owner sees it, with the values in its names."""
    names = {
        "collection": row.collection,
        "title": row.title,
        "metadata": row.metadata,
    }
    shown = reveal(names, scope_ids=(row.owner_scope,), types=None)
    return {
        "document_id": str(row.pk),
        **(shown if isinstance(shown, dict) else {}),
        "length": row.length,
        "chunks": chunk_count,
        "taint": row.taint,
        "created_at": row.created_at.isoformat(),
    }
