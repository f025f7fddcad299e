"""Pages of a list, newest first, that stay right while rows are added."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import Model, Q, QuerySet
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.utils.urls import replace_query_param
from rest_framework.views import APIView

from octollm.errors import InvalidCursorError, InvalidPageSizeError


@dataclass(frozen=True, kw_only=True)
class Cursor:
    """The row that a page starts behind, and which way it goes."""

    is_backward: bool
    created_at: datetime
    row_id: str

    def encode(self) -> str:
        """Return it as it stands in an address."""
        fields = [int(self.is_backward), self.created_at.isoformat(), self.row_id]
        return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()

    @classmethod
    def decode(cls, text: str) -> Cursor:
        """Read it back.

        Raises:
            InvalidCursorError: it was not made by ``encode``.
        """
        try:
            is_backward, created_at, row_id = json.loads(
                base64.b64decode(text, altchars=b"-_", validate=True)
            )
            cursor = cls(
                is_backward=bool(is_backward),
                created_at=_utc(created_at),
                row_id=str(UUID(row_id)),
            )
        except (ValueError, TypeError, AttributeError, ArithmeticError, RecursionError):
            raise InvalidCursorError from None
        return cursor


def _utc(text: str) -> datetime:
    # PostgreSQL refuses offsets and years that Python takes.
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("no offset")
    return moment.astimezone(UTC)


class NewestFirstPagination(BasePagination):
    """Pages ordered by ``-created_at, -id`` of rows whose id is a UUID.

    DRF's own cursor looks at one column only: rows of one transaction share their
    time, and it skips or repeats them; and a forged position there is a 500.
    """

    default_size: ClassVar[int] = 50
    max_size: ClassVar[int] = 200

    def paginate_queryset(
        self, queryset: Any, request: Request, view: APIView | None = None
    ) -> list[Any]:
        """Return the rows of the page that the request asks for.

        Raises:
            InvalidCursorError: the cursor is not one of ours.
            InvalidPageSizeError: the size is no number from 1 to ``max_size``.
        """
        size = self._size(request)
        text = request.query_params.get("cursor")
        cursor = Cursor.decode(text) if text else None
        rows = list(_behind(queryset, cursor)[: size + 1])
        has_more, rows = len(rows) > size, rows[:size]
        is_backward = cursor is not None and cursor.is_backward
        if is_backward:
            rows.reverse()
        self._url = request.build_absolute_uri()
        has_next = has_more or is_backward
        has_previous = has_more if is_backward else cursor is not None
        self._next = self._link(rows, -1) if has_next else None
        self._previous = self._link(rows, 0) if has_previous else None
        return rows

    def _size(self, request: Request) -> int:
        text = request.query_params.get("page_size", str(self.default_size))
        # isdecimal() alone takes digits of other scripts.
        is_number = text.isascii() and text.isdecimal() and len(text) < 6
        if is_number and 1 <= int(text) <= self.max_size:
            return int(text)
        raise InvalidPageSizeError(
            f"page_size must be a number from 1 to {self.max_size}."
        )

    def _link(self, rows: Sequence[Model], index: int) -> str | None:
        if not rows:
            return None
        row: Any = rows[index]
        cursor = Cursor(
            is_backward=index == 0, created_at=row.created_at, row_id=str(row.pk)
        )
        return replace_query_param(self._url, "cursor", cursor.encode())

    def get_paginated_response(self, data: Any) -> Response:
        """Wrap one page."""
        return Response(
            {"results": data, "next": self._next, "previous": self._previous}
        )

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        """Describe one page of things that ``schema`` describes."""
        link = {"type": ["string", "null"], "format": "uri"}
        return {
            "type": "object",
            "required": ["results", "next", "previous"],
            "properties": {"results": schema, "next": link, "previous": link},
        }

    def get_schema_operation_parameters(self, view: APIView) -> list[dict[str, Any]]:
        """Describe what the address takes."""
        size = {"type": "integer", "minimum": 1, "maximum": self.max_size}
        return [
            {"name": "cursor", "in": "query", "schema": {"type": "string"}},
            {
                "name": "page_size",
                "in": "query",
                "schema": {**size, "default": self.default_size},
            },
        ]


def _behind(queryset: QuerySet[Any], cursor: Cursor | None) -> QuerySet[Any]:
    """Return the rows behind the cursor, nearest first."""
    if cursor is None:
        return queryset.order_by("-created_at", "-pk")
    way = "gt" if cursor.is_backward else "lt"
    # Written so that an index on created_at bounds the scan by the first condition.
    behind = Q(**{f"created_at__{way}e": cursor.created_at}) & (
        Q(**{f"created_at__{way}": cursor.created_at})
        | Q(**{f"pk__{way}": cursor.row_id})
    )
    ordering = ("created_at", "pk") if cursor.is_backward else ("-created_at", "-pk")
    return queryset.filter(behind).order_by(*ordering)
