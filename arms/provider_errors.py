"""What the client library raises, in our words, and whether it may be billed."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from datetime import UTC, datetime

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
