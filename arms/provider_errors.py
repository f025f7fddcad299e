"""What the client library raises, in our words, and whether it may be billed.

Messages of providers are not passed on: they may quote the prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
from openai import APIConnectionError, APIStatusError

from octollm.errors import (
    ModelAnswerError,
    ModelError,
    ModelFormatError,
    ModelMisconfiguredError,
    ModelUnavailableError,
)

# How servers word it when they cannot do an answer format; llama.cpp and
# llama-cpp-python say it with a 500.
_ABOUT_FORMAT = re.compile(
    r"response_format|json_schema|json_object|json mode|schema|grammar|peg-native"
    r"|structured output|input should be 'text'",
    re.IGNORECASE,
)
_NEVER_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
# A gateway answered in place of a provider that may have done the work.
_ANSWER_LOST = frozenset({502, 504, 520, 524})
_TRY_AGAIN = frozenset({408, 409, 425, 429})
_NOT_ACCEPTED = frozenset({401, 402, 403, 404, 405})
_FORMAT_STATUSES = frozenset({400, 415, 422})


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a call brought no answer.

    Attributes:
        may_be_billed: whether the provider may have worked on the request.
    """

    error: ModelError
    may_be_billed: bool


def failure_of(error: Exception, *, has_format: bool) -> Failure:
    """Translate what was raised while a request was sent and its answer read.

    Args:
        error: from the client library, or from reading a body that is no JSON.
        has_format: whether the request asked for an answer format.
    """
    if isinstance(error, APIStatusError):
        return _of_status(error, has_format=has_format)
    if isinstance(error, APIConnectionError):
        is_unsent = isinstance(error.__cause__, _NEVER_SENT)
        what = "could not be reached" if is_unsent else "broke the connection"
        return Failure(
            error=ModelUnavailableError(f"The model's server {what}."),
            may_be_billed=not is_unsent,
        )
    return Failure(
        error=ModelAnswerError("The provider's answer cannot be read."),
        may_be_billed=True,
    )


def _of_status(error: APIStatusError, *, has_format: bool) -> Failure:
    status = error.status_code
    text = f"{error.message} {error.body}"
    is_about_format = has_format and _ABOUT_FORMAT.search(text) is not None
    if has_format and (
        status in _FORMAT_STATUSES or (status in {404, 500} and is_about_format)
    ):
        found: ModelError = ModelFormatError(
            f"The provider does not take this answer format (status {status})."
        )
    elif status in _NOT_ACCEPTED or status < 400 or error.code == "insufficient_quota":
        found = ModelMisconfiguredError(
            f"The provider does not accept the request (status {status}): check the "
            "address, the key, the model's name and the account."
        )
    elif status in _TRY_AGAIN or status >= 500:
        found = ModelUnavailableError(
            f"The model's server answered with status {status}.",
            retry_after_s=retry_after_s(error.response.headers),
        )
    else:
        found = ModelError(f"The provider refused the request (status {status}).")
    return Failure(error=found, may_be_billed=status in _ANSWER_LOST)


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that a provider asks to wait, or nothing if it does not."""
    wish = headers.get("retry-after", "").strip()
    try:
        seconds = float(wish)
    except ValueError:
        return _until(wish)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _until(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())
