"""Logs: structlog renders what the standard loggers say, without locals.

Prompts, replies, goals and keys are never logged; their lengths and ids are.
"""

from __future__ import annotations

import logging
import logging.config
import re
from collections.abc import Callable
from typing import Any

import structlog
from django.http import HttpRequest, HttpResponse

from octollm.ids import new_id

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def configure(options: dict[str, Any]) -> None:
    """Set up logging; ``options`` holds ``level`` and ``format`` (json or console)."""
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    # Plain tracebacks in both: structlog's rich ones print local variables, and
    # those hold requests and SQL.
    renderer: list[structlog.typing.Processor] = (
        [
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ]
        if options["format"] == "json"
        else [
            structlog.dev.ConsoleRenderer(
                exception_formatter=structlog.dev.plain_traceback
            )
        ]
    )
    formatter = {
        "()": structlog.stdlib.ProcessorFormatter,
        "foreign_pre_chain": shared,
        "processors": [
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *renderer,
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
            "loggers": {
                # One line per request would double what a proxy logs already.
                "django.server": {"level": "WARNING"},
                # Its lines carry the path and body of what failed; ours do not.
                "django.request": {"level": "CRITICAL"},
                "httpx2": {"level": "WARNING"},
                "openai": {"level": "WARNING"},
            },
        }
    )


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
