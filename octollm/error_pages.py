"""Errors that reach no view of the API, in its shape; for browsers as a page."""

from __future__ import annotations

import logging
import sys

from django.http import HttpRequest, HttpResponse, HttpResponsePermanentRedirect
from django.urls import is_valid_path
from django.utils.http import escape_leading_slashes

from octollm.api import error_response, is_database_away
from octollm.errors import DatabaseUnavailableError

logger = logging.getLogger(__name__)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django could not take, such as an unknown host."""
    # Django's own line on it would quote what was sent.
    logger.warning("A request was refused: %s", type(exception).__name__)
    return _answer(request, 400, "bad_request", "The request could not be read.")


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer somebody who may not do this."""
    return _answer(request, 403, "permission_denied", "You may not do this.")


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """Answer a form that may come from another site; the reason would quote it."""
    return _answer(
        request,
        403,
        "csrf_failed",
        "The form is out of date or came from another site. Load the page again.",
    )


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer an address that leads nowhere; mend a slash too many at its end."""
    bare = request.path_info.rstrip("/")
    if bare != request.path_info and is_valid_path(bare):
        if request.method in ("GET", "HEAD"):
            query = request.META.get("QUERY_STRING", "")
            target = escape_leading_slashes(bare) + (f"?{query}" if query else "")
            return HttpResponsePermanentRedirect(target)
        return _answer(
            request, 404, "not_found", "This address has no slash at its end."
        )
    return _answer(request, 404, "not_found", "There is nothing at this address.")


def server_error(request: HttpRequest) -> HttpResponse:
    """Answer a request on which we failed; the log holds the rest."""
    error = sys.exc_info()[1]
    if is_database_away(error):
        logger.warning("The database is away", exc_info=error)
        outage = DatabaseUnavailableError()
        return _answer(request, outage.http_status, outage.code, outage.message)
    logger.error("A request failed outside the API", exc_info=error)
    return _answer(
        request,
        500,
        "internal_error",
        "Something went wrong here; the request_id finds it in the logs.",
    )


def _answer(
    request: HttpRequest, status_code: int, code: str, detail: str
) -> HttpResponse:
    return error_response(request, status_code=status_code, code=code, detail=detail)
