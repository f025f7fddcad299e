"""What the client library raises, in our words, and whether it may be billed.

Messages of providers are not passed on: they may quote the prompt.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import httpx2
from openai import APIConnectionError, APIStatusError

from arms.answers import CallFailedError
from arms.clients import AnswerTooLargeError
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
# The server is well and wants this request later.
_NOT_NOW = frozenset({409, 425, 429})
_NOT_ACCEPTED = frozenset({401, 402, 403, 404, 405})
_FORMAT_STATUSES = frozenset({400, 415, 422})
# What a provider's entry in the settings decides, by the parameter it is sent as.
_ENTRY_DECIDES = {
    "max_tokens": "max_output_field",
    "max_completion_tokens": "max_output_field",
    "temperature": "temperature",
}
# How long everybody waits when a server says 429 and not how long.
_HOLD_OFF_S = 1.0


def failure_of(error: Exception, *, has_format: bool) -> CallFailedError:
    """Translate what was raised while a request was sent and its answer read.

    Args:
        error: from the client library, or from reading a body that is no JSON.
        has_format: whether the request asked for an answer format.
    """
    if isinstance(error, APIStatusError):
        return _of_status(error, has_format=has_format)
    is_answer = not isinstance(error, APIConnectionError)
    if is_answer or isinstance(error.__cause__, AnswerTooLargeError):
        unreadable = ModelAnswerError("The provider's answer cannot be read.")
        return CallFailedError(unreadable, may_be_billed=True, is_outage=True)
    is_unsent = isinstance(error.__cause__, _NEVER_SENT)
    what = "could not be reached" if is_unsent else "broke the connection"
    return CallFailedError(
        ModelUnavailableError(f"The model's server {what}."),
        may_be_billed=not is_unsent,
        is_outage=True,
    )


def _of_status(error: APIStatusError, *, has_format: bool) -> CallFailedError:
    status = error.status_code
    found = _error_of(error, has_format=has_format)
    is_passing = isinstance(found, ModelUnavailableError)
    hold_off_s = found.retry_after_s if isinstance(found, ModelUnavailableError) else 0
    if is_passing and status == 429 and hold_off_s is None:
        hold_off_s = _HOLD_OFF_S
    return CallFailedError(
        found,
        may_be_billed=status in _ANSWER_LOST,
        is_outage=is_passing and status not in _NOT_NOW,
        hold_off_s=hold_off_s or 0.0,
    )


def _error_of(error: APIStatusError, *, has_format: bool) -> ModelError:
    status = error.status_code
    parameter = str(error.param)
    if status == 400 and parameter in _ENTRY_DECIDES:
        return ModelMisconfiguredError(
            f"The provider does not take “{parameter}” as it was sent: set "
            f"“{_ENTRY_DECIDES[parameter]}” in its entry of OCTOLLM_LLM_PROVIDERS."
        )
    if has_format and _is_about_format(error):
        return ModelFormatError(
            f"The provider does not take this answer format (status {status})."
        )
    is_out_of_money = error.code == "insufficient_quota"
    if status in _NOT_ACCEPTED or status < 400 or is_out_of_money:
        return ModelMisconfiguredError(
            f"The provider does not accept the request (status {status}): check the "
            "address, the key, the model's name and the account."
        )
    if status in _TRY_AGAIN or status >= 500:
        return ModelUnavailableError(
            f"The model's server answered with status {status}.",
            retry_after_s=retry_after_s(error.response.headers),
        )
    return ModelError(f"The provider refused the request (status {status}).")


def _is_about_format(error: APIStatusError) -> bool:
    """Tell whether a plainer format may be taken; a 400 need not say what it is about.

    A 400 for another reason is one in the plainest format too.
    """
    is_worded_so = _ABOUT_FORMAT.search(f"{error.message} {error.body}") is not None
    return error.status_code in _FORMAT_STATUSES or (
        error.status_code in {404, 500} and is_worded_so
    )


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
