"""Who may use a process that only screens: whoever holds its token, or is here."""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from django.conf import settings
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

if TYPE_CHECKING:  # that module reads the settings that name this one
    from rest_framework.views import APIView


@dataclass(frozen=True)
class TokenHolder:
    """``request.user`` of a call that showed the token."""

    pk: ClassVar[str] = "token"
    is_authenticated: ClassVar[bool] = True


class TokenAuthentication(BaseAuthentication):
    """``Authorization: Bearer`` with ``OCTOLLM_REFLEX_TOKEN``."""

    def authenticate(self, request: Request) -> tuple[TokenHolder, None] | None:
        """Return the holder, or nothing when no bearer token came or none is set."""
        header = str(request.META.get("HTTP_AUTHORIZATION", ""))
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer" or not settings.OCTOLLM_REFLEX_TOKEN:
            return None
        wanted = settings.OCTOLLM_REFLEX_TOKEN.encode()
        if not hmac.compare_digest(token.strip().encode(), wanted):
            raise AuthenticationFailed("The token is not the right one.")
        return TokenHolder(), None

    def authenticate_header(self, request: Request) -> str:
        """Ask for a bearer token, which makes the refusal a 401."""
        return 'Bearer realm="reflex"'


class MayScreen(BasePermission):
    """Let in the holder of the token; where none is set, programs on this machine."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        """Say whether the caller may use the view."""
        if settings.OCTOLLM_REFLEX_TOKEN:
            return bool(getattr(request.user, "is_authenticated", False))
        from octollm.views import is_local  # it needs the views of DRF, too

        return is_local(request)
