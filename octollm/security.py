"""What every request and every answer must keep to, whatever view it meets."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase

from octollm.api import problem_response
from octollm.errors import BodyTooLargeError, LengthRequiredError, RequestError

Handler = Callable[[HttpRequest], HttpResponseBase]

_BASE = (
    "default-src 'none'; connect-src 'self'; font-src 'self'; form-action 'self'; "
    "img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'; "
    # Swagger's page, the browsable API and the admin place single elements by a
    # style attribute; style leaks nothing to hosts that img-src refuses.
    "style-src 'self' 'unsafe-inline'; "
)
STRICT_POLICY = f"{_BASE}script-src 'self'"
# unfold is built on Alpine, which compiles its attributes: without eval an
# invisible dialog covers the login page.
ADMIN_POLICY = f"{_BASE}script-src 'self' 'unsafe-eval'; manifest-src 'self'"


class ContentSecurityPolicyMiddleware:
    """Forbid pages to load from, or send to, any other host."""

    def __init__(self, get_response: Handler) -> None:
        """Keep the next handler."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Add the policy unless the view set one of its own."""
        response = self._get_response(request)
        is_admin = request.path_info.startswith("/admin/")
        response.headers.setdefault(
            "Content-Security-Policy", ADMIN_POLICY if is_admin else STRICT_POLICY
        )
        return response


class BodyGuardMiddleware:
    """Refuse bodies whose length is unknown, and large ones that are not JSON.

    WSGI gives a chunked body no length, and Django then reads it as empty: the
    caller's request would be taken for another one. JSON bodies are limited by
    our parser, which knows the view's own limit; everything else that Django may
    read here is a form, also before anybody has logged in.
    """

    def __init__(self, get_response: Handler) -> None:
        """Keep the next handler."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        """Answer 411 or 413, or pass the request on."""
        fault = _fault(request.META)
        if fault is None:
            return self._get_response(request)
        return problem_response(
            request,
            status_code=fault.http_status,
            code=fault.code,
            detail=fault.message,
        )


def _fault(meta: Mapping[str, Any]) -> RequestError | None:
    length: str = meta.get("CONTENT_LENGTH") or "0"
    is_number = length.isascii() and length.isdecimal()
    if "HTTP_TRANSFER_ENCODING" in meta or not is_number:
        return LengthRequiredError()
    limit: int = settings.OCTOLLM_MAX_BODY_BYTES
    is_json = str(meta.get("CONTENT_TYPE", "")).startswith("application/json")
    if int(length[:20]) > limit and not is_json:
        return BodyTooLargeError(f"The body may have at most {limit} bytes.")
    return None
