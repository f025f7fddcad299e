"""Reading what a model provider answered; nothing in it is trusted."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from arms.contract import ModelCall, ModelUsage
from octollm.errors import (
    ModelAnswerError,
    ModelError,
    ModelRefusedError,
    ModelTruncatedError,
)

# A model that thinks aloud writes this in front of its answer; an unclosed block is
# all thought and no answer.
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.I)
_THOUGHT_TAIL = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.I)


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A usable answer.

    Attributes:
        text: without thoughts, never blank.
        finish_reason: what the provider said, ``stop`` when it said nothing.
        model: the name that the provider gave.
        is_replayed: whether it comes from the record of an earlier attempt.
    """

    text: str
    finish_reason: str
    usage: ModelUsage
    model: str
    is_replayed: bool = False


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, usable or not, in a form that can be kept for a replay."""

    text: str
    finish_reason: str
    refusal: str
    model: str
    usage: ModelUsage

    def to_record(self) -> str:
        """Return the form that the meter keeps."""
        return json.dumps(
            {
                "text": self.text,
                "finish_reason": self.finish_reason,
                "refusal": self.refusal,
                "model": self.model,
                "usage": {
                    "input_tokens": self.usage.input_tokens,
                    "output_tokens": self.usage.output_tokens,
                    "cached_tokens": self.usage.cached_tokens,
                    "is_estimated": self.usage.is_estimated,
                },
            }
        )

    def completion(self, *, is_replayed: bool = False) -> Completion:
        """Return the answer if it can be used.

        Raises:
            ModelRefusedError: the model or a filter declined.
            ModelTruncatedError: it was cut off; what there is may mislead.
            ModelAnswerError: it is empty.
        """
        problem = self._problem()
        if problem is not None:
            raise problem
        return Completion(
            text=without_thoughts(self.text),
            finish_reason=self.finish_reason,
            usage=self.usage,
            model=self.model,
            is_replayed=is_replayed,
        )

    def _problem(self) -> ModelError | None:
        if self.refusal or self.finish_reason == "content_filter":
            return ModelRefusedError("The model declined to answer.")
        if self.finish_reason == "length":
            return ModelTruncatedError("The model's answer was cut off.")
        if not without_thoughts(self.text):
            return ModelAnswerError("The model's answer was empty.")
        return None


def read_answer(
    response: object, call: ModelCall, *, latency_s: float
) -> Answer | None:
    """Return what a response holds, or nothing when it is no completion at all.

    The client library hands on whatever a server sends: a page of HTML as a string,
    missing parts as ``None``.
    """
    choices = getattr(response, "choices", None)
    if not isinstance(choices, list):
        return None
    choice = choices[0] if choices else None
    message = getattr(choice, "message", None)
    return Answer(
        text=_content(getattr(message, "content", None)),
        finish_reason=_text(getattr(choice, "finish_reason", None)) or "stop",
        refusal=_text(getattr(message, "refusal", None)),
        model=_text(getattr(response, "model", None)) or call.model,
        usage=_usage(getattr(response, "usage", None), call, latency_s),
    )


def from_record(record: str) -> Answer:
    """Return the answer that ``to_record`` wrote."""
    stored: Mapping[str, Any] = json.loads(record)
    return Answer(
        text=stored["text"],
        finish_reason=stored["finish_reason"],
        refusal=stored["refusal"],
        model=stored["model"],
        usage=ModelUsage(**stored["usage"]),
    )


def without_thoughts(text: str) -> str:
    """Return ``text`` without ``<think>`` blocks, stripped.

    Some chat templates put the opening tag into the prompt, so that only the
    closing one comes back.
    """
    return _THOUGHT_TAIL.sub("", _THOUGHT.sub("", text)).strip()


def _content(value: object) -> str:
    """Return a message's text; some servers send it as a list of parts."""
    if isinstance(value, list):
        parts = (part.get("text") for part in value if isinstance(part, Mapping))
        return "".join(_text(part) for part in parts)
    return _text(value)


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _usage(usage: object, call: ModelCall, latency_s: float) -> ModelUsage:
    """Read the usage; what is missing or absurd is estimated at the call's bounds."""
    details = getattr(usage, "prompt_tokens_details", None)
    counted_in = _count(getattr(usage, "prompt_tokens", None), call.input_tokens)
    counted_out = _count(getattr(usage, "completion_tokens", None), call.output_tokens)
    cached = _count(getattr(details, "cached_tokens", None), call.input_tokens)
    input_tokens = call.input_tokens if counted_in is None else counted_in
    return ModelUsage(
        input_tokens=input_tokens,
        output_tokens=call.output_tokens if counted_out is None else counted_out,
        cached_tokens=min(cached or 0, input_tokens),
        is_estimated=counted_in is None or counted_out is None,
        latency_s=latency_s,
    )


def _count(value: object, bound: int) -> int | None:
    """Return a believable count: positive, and not ten times what can have been.

    A provider counts by its own tokens and adds a template, so it may exceed our
    bound; the ledger then records an overrun. Zero is what servers say that do not
    count.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= 10 * bound else None
