"""What a caller may reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from octollm.access.callers import scopes_of

if TYPE_CHECKING:  # that module reads the settings that name this one
    from rest_framework.views import APIView


class HasAccess(BasePermission):
    """Let in whoever is known, and a narrowed key only where its scope is named.

    A view names the scope that is enough for it as ``required_scope``; without
    one, only full keys and staff come in.
    """

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Say whether the caller may use the view."""
        # Nobody is None here, by UNAUTHENTICATED_USER; DRF's stubs do not know.
        if not getattr(request.user, "is_authenticated", False):
            return False
        scopes = scopes_of(request)
        return scopes is None or getattr(view, "required_scope", None) in scopes
