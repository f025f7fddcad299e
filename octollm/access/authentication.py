"""Who calls the API: the holder of a key, or a member of staff at a browser."""

from __future__ import annotations

import logging

from django.contrib.auth.models import AbstractBaseUser
from django.db import DatabaseError, transaction
from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import AuthenticationFailed, PermissionDenied
from rest_framework.request import Request

from octollm.access.callers import KeyHolder
from octollm.access.keys import find_key, is_use_due, note_use
from octollm.access.models import ApiKey

logger = logging.getLogger(__name__)

# One message for wrong, expired and revoked keys and inactive owners: which of
# them it is would help only somebody who tries keys that are not theirs.
_REFUSED = "The API key is not valid."


class ApiKeyAuthentication(BaseAuthentication):
    """``Authorization: Bearer octo_…``; one query, with the owner joined."""

    def authenticate(self, request: Request) -> tuple[KeyHolder, ApiKey] | None:
        """Return the key and its holder, or nothing when no bearer token came."""
        header = request.META.get("HTTP_AUTHORIZATION", "")
        scheme, _, token = header.partition(" ")
        if scheme.lower() != "bearer":
            return None
        key = find_key(token.strip())
        if key is None:
            raise AuthenticationFailed(_REFUSED)
        if is_use_due(key):
            _note_use(key)
        return KeyHolder(key=key), key

    def authenticate_header(self, request: Request) -> str:
        """Ask for a bearer token, which makes the refusal a 401."""
        return 'Bearer realm="octollm"'


class StaffSessionAuthentication(SessionAuthentication):
    """The session of an active member of staff, with CSRF enforced."""

    def authenticate(self, request: Request) -> tuple[AbstractBaseUser, None] | None:
        """Return the account, or nothing when there is no staff session."""
        user = getattr(request._request, "user", None)
        if user is None or not user.is_active or not user.is_staff:
            return None
        self.enforce_csrf(request)
        return user, None

    def enforce_csrf(self, request: Request) -> None:
        """Refuse a request that another site may have caused."""
        try:
            super().enforce_csrf(request)
        except PermissionDenied as error:
            # Django's reason quotes the Origin and Referer that were sent.
            raise PermissionDenied(
                "The CSRF token or the origin of the request is not right.",
                code="csrf_failed",
            ) from error


def _note_use(key: ApiKey) -> None:
    try:
        with transaction.atomic():
            note_use(key)
    except DatabaseError:
        # A full disk or a read-only standby must not turn callers away.
        logger.warning("An API key's last use could not be written", exc_info=True)
