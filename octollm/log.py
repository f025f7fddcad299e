"""Logs: structlog renders what the standard loggers say, without locals.

Prompts, replies, goals and keys are never logged; their lengths and ids are.
"""

from __future__ import annotations

import logging
import logging.config
import os
import re
import traceback
from collections.abc import Callable
from types import TracebackType
from typing import Any, TypeAlias

import structlog
from django.conf import settings
from django.db import (
    IntegrityError,
    InterfaceError,
    OperationalError,
    ProgrammingError,
)
from django.http import HttpRequest, HttpResponse

from octollm.errors import OctoLLMError
from octollm.ids import new_id

ExcInfo: TypeAlias = tuple[type[BaseException], BaseException, TracebackType | None]
# Exceptions whose text is ours, or names types, attributes, files and hosts only.
_SAFE_TEXT = (
    OctoLLMError,
    AttributeError,
    ImportError,
    InterfaceError,
    NameError,
    OSError,
    OperationalError,
    RecursionError,
    TypeError,
)

# What a line may be given with ``extra``.
EXTRA_KEYS = (
    *("task_id", "step_id", "attempt", "error_code", "frames"),
    *("by", "reason", "is_now"),
)

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")

_LOGGERS = {
    # One line per request would double what a proxy logs already.
    "django.server": {"level": "WARNING"},
    # Their lines carry the path, host or body of what failed; those of
    # octollm.api and octollm.error_pages do not.
    "django.request": {"level": "CRITICAL"},
    "django.security": {"level": "CRITICAL"},
    "drf_spectacular": {"level": "WARNING"},
    "httpx2": {"level": "WARNING"},
    "openai": {"level": "WARNING"},
}


def configure(options: dict[str, Any]) -> None:
    """Set up logging; ``options`` holds ``level`` and ``format`` (json or console)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        # Ours alone: what other libraries attach may hold requests and values.
        structlog.stdlib.ExtraAdder(allow=EXTRA_KEYS),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.ExceptionRenderer(format_exception),
            _renderer(options["format"]),
        ],
    }
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"structlog": formatter},
            "handlers": {
                "stderr": {"class": "logging.StreamHandler", "formatter": "structlog"}
            },
            "root": {"handlers": ["stderr"], "level": options["level"]},
            "loggers": _LOGGERS,
        }
    )


def _renderer(form: str) -> structlog.typing.Processor:
    # Neither renderer formats exceptions itself: structlog's rich tracebacks print
    # local variables, and those hold requests and SQL.
    if form == "json":
        return structlog.processors.JSONRenderer()
    return structlog.dev.ConsoleRenderer(
        # Descriptor 2, not sys.stderr: Dramatiq puts a pipe in its place.
        colors=os.isatty(2),
        exception_formatter=structlog.dev.plain_traceback,
    )


def format_exception(exc_info: ExcInfo) -> str:
    """Return the frames of an exception and its causes, and text that is safe.

    The text of an exception may quote what failed (`invalid literal: '…'`, the
    row that broke a constraint): it is kept only where it cannot, or in DEBUG.
    """
    parts: list[str] = []
    error: BaseException | None = exc_info[1]
    while error is not None:
        frames = "".join(traceback.format_tb(error.__traceback__))
        parts.insert(0, f"{frames}{_name(error)}: {safe_text(error)}")
        # The same two rules as in Python's own tracebacks.
        is_hidden = error.__suppress_context__
        error = error.__cause__ or (None if is_hidden else error.__context__)
    return "\n\ncausing:\n\n".join(parts)


def safe_text(error: BaseException) -> str:
    """Return what may be logged of an exception's text."""
    if settings.DEBUG or isinstance(error, _SAFE_TEXT):
        return str(error)
    diagnosis = getattr(error.__cause__, "diag", None)
    if isinstance(error, (IntegrityError, ProgrammingError)) and diagnosis:
        # Names of tables and constraints; the values are in its detail.
        return f"{diagnosis.sqlstate} {diagnosis.message_primary}"
    return "(text withheld: it may quote data)"


def _name(error: BaseException) -> str:
    kind = type(error)
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


class RequestContextMiddleware:
    """Give each request an id: in the answer, in errors and in every log line.

    A caller's ``X-Request-ID`` is kept only when it is a UUID: free text there
    could carry personal data into the logs.
    """

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        """Keep the next handler."""
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        """Bind the id while the request is handled."""
        offered = request.headers.get("X-Request-ID", "").lower()
        request_id = offered if _UUID.fullmatch(offered) else str(new_id())
        request.META["OCTOLLM_REQUEST_ID"] = request_id
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self._get_response(request)
        response["X-Request-ID"] = request_id
        return response
