"""The floor of the REST API: the one shape of errors, and what views build on.

Every error is an RFC 9457 problem document: ``type``, ``title``, ``status``,
``detail``, ``instance``, ``code``, ``request_id`` and ``errors``, one object per
fault with ``pointer`` (or ``parameter``), ``code`` and ``detail``. None of it
repeats what the caller sent: that may be personal data.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.core.exceptions import SuspiciousOperation
from django.db import InterfaceError, OperationalError
from django.http import (
    HttpRequest,
    HttpResponse,
    JsonResponse,
    UnreadablePostError,
)
from django.template.loader import render_to_string
from drf_standardized_errors.formatter import ExceptionFormatter
from drf_standardized_errors.handler import ExceptionHandler, exception_handler
from rest_framework import exceptions, status
from rest_framework.renderers import JSONRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.settings import api_settings

from octollm.errors import (
    DatabaseUnavailableError,
    InvalidPlanError,
    OctoLLMError,
    OwnerBudgetExceededError,
    TaskRejectedError,
    UnreadableRequestError,
)
from octollm.openapi import Schema
from octollm.pagination import NewestFirstPagination
from octollm.serializers import StrictSerializer, is_plain_name
from octollm.types import JSONObject

__all__ = [
    "NewestFirstPagination",
    "ProblemFormatter",
    "ProblemHandler",
    "Schema",
    "StrictSerializer",
    "error_response",
    "exception_handler",
    "problem",
    "problem_response",
]

logger = logging.getLogger(__name__)

PROBLEM_JSON = "application/problem+json"
_INVALID = "The request is not valid; see errors."
# Codes that say more than "invalid", in the order in which one is shown on top.
_LEADING_CODES = ("unknown_field", "unsupported_field")
# Messages of DRF and of Django's forms that quote the value they refuse.
_QUOTING = {
    "invalid_choice": "This is not one of the allowed values.",
    "does_not_exist": "There is no such object.",
    "method_not_allowed": "This address does not answer that method.",
    "unsupported_media_type": "The body must be application/json.",
    "not_acceptable": "The answer cannot be given in a form that Accept names.",
}


class ProblemError(exceptions.APIException):
    """One of our own errors on its way through DRF."""

    def __init__(self, error: OctoLLMError) -> None:
        """Take over status, code and message."""
        super().__init__(error.message, error.code)
        self.status_code = error.http_status
        if error.is_transient:
            self.wait = getattr(error, "retry_after_s", None) or 1


def problem(
    request: HttpRequest | Request,
    *,
    status_code: int,
    code: str,
    detail: str,
    errors: Sequence[JSONObject] = (),
) -> JSONObject:
    """Return the body of a problem document."""
    request_id = str(request.META.get("OCTOLLM_REQUEST_ID", ""))
    document: JSONObject = {
        "type": f"urn:octollm:problem:{code}",
        "title": HTTPStatus(status_code).phrase,
        "status": status_code,
        "detail": detail,
        # The path may hold what somebody typed; the id names the occurrence.
        "instance": f"urn:uuid:{request_id}" if request_id else "about:blank",
        "code": code,
        "request_id": request_id,
        "errors": list(errors),
    }
    return document


def problem_response(
    request: HttpRequest, *, status_code: int, code: str, detail: str
) -> JsonResponse:
    """Answer with a problem document where no view of DRF does."""
    response = JsonResponse(
        problem(request, status_code=status_code, code=code, detail=detail),
        status=status_code,
        content_type=PROBLEM_JSON,
    )
    # CommonMiddleware, which sets it, is not passed by an answer given before it.
    response["Content-Length"] = str(len(response.content))
    return response


def error_response(
    request: HttpRequest, *, status_code: int, code: str, detail: str
) -> HttpResponse:
    """Answer a browser with a page and a program with a problem document."""
    if not wants_html(request):
        return problem_response(
            request, status_code=status_code, code=code, detail=detail
        )
    document = problem(request, status_code=status_code, code=code, detail=detail)
    # Without the request: its context processors ask the database, which may be
    # what failed.
    page = render_to_string("error.html", {"problem": document})
    return HttpResponse(page, status=status_code)


class ProblemHandler(ExceptionHandler):
    """Turn whatever a view raised into a problem document."""

    def convert_known_exceptions(self, exc: Exception) -> Exception:
        """Give our errors, and Django's own, the status they deserve."""
        match exc:
            case OctoLLMError():
                return ProblemError(exc)
            case _ if is_database_away(exc):
                return ProblemError(DatabaseUnavailableError())
            case SuspiciousOperation() | UnreadablePostError():
                return ProblemError(UnreadableRequestError())
            case _:
                return super().convert_known_exceptions(exc)

    def get_response(self, exc: exceptions.APIException, data: Any) -> Any:
        """Answer in JSON, in the browsable page, or send a browser to log in."""
        request = self.context["request"]
        if request is None:
            return super().get_response(exc, data)
        if exc.status_code == status.HTTP_401_UNAUTHORIZED and _is_visit(request):
            return redirect_to_login(request.get_full_path())
        if status.is_server_error(exc.status_code) and wants_html(request):
            # The browsable page would ask the database who is looking at it.
            return error_response(
                request._request,
                status_code=exc.status_code,
                code=data["code"],
                detail=data["detail"],
            )
        response = super().get_response(exc, data)
        renderer = getattr(request, "accepted_renderer", None)
        if renderer is None or renderer.format != "api":
            # Also where the view renders a page or YAML: an error is JSON.
            request.accepted_renderer = JSONRenderer()
            request.accepted_media_type = JSONRenderer.media_type
            response.content_type = PROBLEM_JSON
        return response

    def report_exception(
        self, exc: exceptions.APIException, response: Response
    ) -> None:
        """Log what a person should look at; never what was sent."""
        if not status.is_server_error(exc.status_code):
            return
        if not isinstance(exc, ProblemError):
            # Sends the signal that monitors of errors listen to.
            super().report_exception(exc, response)
        is_outage = exc.status_code == status.HTTP_503_SERVICE_UNAVAILABLE
        logger.log(
            logging.WARNING if is_outage else logging.ERROR,
            "A request failed in %s",
            type(self.context["view"]).__name__,
            exc_info=self.exc,
        )


class ProblemFormatter(ExceptionFormatter):
    """Write the problem document of an exception."""

    def run(self) -> JSONObject:
        """Return the document."""
        errors = list(self._errors()) if self._is_validation else []
        document = problem(
            self.context["request"] or HttpRequest(),
            status_code=self.exc.status_code,
            code=self._code(errors),
            detail=_INVALID if errors else self._detail(),
            errors=errors,
        )
        if isinstance(self.original_exc, TaskRejectedError):
            document["rule_ids"] = list(self.original_exc.rule_ids)
        if isinstance(self.original_exc, InvalidPlanError):
            document["violations"] = list(self.original_exc.violations)
        if isinstance(self.original_exc, OwnerBudgetExceededError):
            document["month"] = self.original_exc.month
            document["left_usd"] = f"{self.original_exc.left_usd:.9f}"
        return document

    @property
    def _is_validation(self) -> bool:
        return isinstance(self.exc, exceptions.ValidationError)

    @property
    def _is_bug(self) -> bool:
        return self.exc.status_code == status.HTTP_500_INTERNAL_SERVER_ERROR and (
            not isinstance(self.original_exc, OctoLLMError)
        )

    def _code(self, errors: list[JSONObject]) -> str:
        if self._is_validation:
            found = {error["code"] for error in errors}
            return next((code for code in _LEADING_CODES if code in found), "invalid")
        return "internal_error" if self._is_bug else str(self.exc.get_codes())

    def _detail(self) -> str:
        if self._is_bug:
            return "Something went wrong here; the request_id finds it in the logs."
        return _QUOTING.get(str(self.exc.get_codes()), str(self.exc.detail))

    def _errors(self) -> Iterator[JSONObject]:
        request = self.context["request"]
        in_url = request is not None and request.method in ("GET", "HEAD", "DELETE")
        for path, detail in _flatten(self.exc.detail):
            place: JSONObject = {"pointer": None if in_url else _pointer(path)}
            if in_url and path:
                place["parameter"] = str(path[0])
            yield {**place, "code": str(detail.code), "detail": _unquoted(detail)}


def _flatten(
    detail: Any, path: tuple[str | int, ...] = ()
) -> Iterator[tuple[tuple[str | int, ...], exceptions.ErrorDetail]]:
    if isinstance(detail, Mapping):
        for name, inner in detail.items():
            own = name == api_settings.NON_FIELD_ERRORS_KEY
            yield from _flatten(inner, path if own else (*path, name))
    elif isinstance(detail, (list, tuple)):
        for position, inner in enumerate(detail):
            is_leaf = isinstance(inner, exceptions.ErrorDetail)
            yield from _flatten(inner, path if is_leaf else (*path, position))
    else:
        yield path, detail


def _pointer(path: tuple[str | int, ...]) -> str:
    """Return the JSON pointer, ending before a name that must not be repeated."""
    pointer = "#"
    for part in path:
        if not isinstance(part, int) and not is_plain_name(part):
            break
        pointer += f"/{part}"
    return pointer


def _unquoted(detail: exceptions.ErrorDetail) -> str:
    text = str(detail)
    # What StrictSerializer says instead lists the choices and not the value.
    if text.startswith("Must be one of: "):
        return text
    return _QUOTING.get(str(detail.code), text)


def is_database_away(error: BaseException | None) -> bool:
    """Say whether an exception tells of the database itself, not of a statement."""
    return isinstance(error, (OperationalError, InterfaceError))


def wants_html(request: HttpRequest | Request) -> bool:
    """Say whether a browser asks; programs ask for anything, or for JSON."""
    return "text/html" in str(request.META.get("HTTP_ACCEPT", ""))


def _is_visit(request: Request) -> bool:
    # A browser that sends a wrong key gets the refusal, as any program does.
    has_key = "HTTP_AUTHORIZATION" in request.META
    return request.method in ("GET", "HEAD") and wants_html(request) and not has_key
