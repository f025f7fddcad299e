"""What comes back from a model provider, or why nothing does; nothing is trusted."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from arms.contract import ModelCall, ModelUsage
from arms.pricing import settled_price
from octollm.errors import (
    ModelAnswerError,
    ModelRefusedError,
    ModelTruncatedError,
    OctoLLMError,
)
from octollm.types import JSONValue

# A model that thinks aloud writes this in front of its answer; an unclosed block is
# all thought and no answer.
_THOUGHT = re.compile(r"<think(?:ing)?>.*?(?:</think(?:ing)?>|\Z)", re.DOTALL | re.I)
_THOUGHT_TAIL = re.compile(r"\A.*</think(?:ing)?>", re.DOTALL | re.I)
# However many mistakes are in it: where a JSON object begins.
_OBJECT = re.compile(r"\{\s*[\"'}]")
# No name of a model is longer; a provider may call it what it likes.
_MAX_NAME = 200

Outcome = Literal["ok", "refused", "truncated", "empty"]


@dataclass(frozen=True, kw_only=True)
class Completion:
    """A usable answer.

    Attributes:
        text: without thoughts, never blank.
        finish_reason: what the provider said, ``stop`` when it said nothing.
        model: the name that the provider gave.
        provider: the provider's own name in the settings.
        rung: how strictly its form was asked for.
        is_replayed: whether it comes from the record of an earlier attempt.
    """

    text: str
    finish_reason: str
    usage: ModelUsage
    model: str
    provider: str
    rung: str
    is_replayed: bool = False


class CallFailedError(Exception):
    """A request to a provider brought no answer.

    Attributes:
        error: what to raise when nobody else can be asked.
        may_be_billed: whether the provider may have worked on the request.
        is_outage: whether the provider is unwell, and not the request.
        hold_off_s: how long everybody should leave the provider alone.
    """

    def __init__(
        self,
        error: OctoLLMError,
        *,
        may_be_billed: bool,
        is_outage: bool,
        hold_off_s: float = 0.0,
    ) -> None:
        """Keep what the ledger, the breaker and the caller have to know."""
        super().__init__(str(error))
        self.error = error
        self.may_be_billed = may_be_billed
        self.is_outage = is_outage
        self.hold_off_s = hold_off_s


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back, usable or not, in a form that can be kept for a replay."""

    text: str
    finish_reason: str
    refusal: str
    model: str
    provider: str
    rung: str
    usage: ModelUsage

    @property
    def outcome(self) -> Outcome:
        """Tell whether it can be used, and if not why."""
        if self.refusal or self.finish_reason == "content_filter":
            return "refused"
        if self.finish_reason == "length":
            return "truncated"
        return "ok" if without_thoughts(self.text) else "empty"

    @property
    def ignored_its_form(self) -> bool:
        """Tell whether JSON was asked for and plain words came."""
        if self.rung == "text" or self.outcome != "ok":
            return False
        return _OBJECT.search(without_thoughts(self.text)) is None

    def to_record(self) -> str:
        """Return the form that the meter keeps; prices and times are its own."""
        usage = {
            "input_tokens": self.usage.input_tokens,
            "output_tokens": self.usage.output_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "is_estimated": self.usage.is_estimated,
        }
        return json.dumps({**asdict(self), "usage": usage})

    def completion(self, *, is_replayed: bool = False) -> Completion:
        """Return the answer if it can be used.

        Raises:
            ModelRefusedError: the model or a filter declined.
            ModelTruncatedError: it was cut off; what there is may mislead.
            ModelAnswerError: it is empty.
        """
        if self.outcome == "refused":
            raise ModelRefusedError("The model declined to answer.")
        if self.outcome == "truncated":
            raise ModelTruncatedError("The model's answer was cut off.")
        if self.outcome == "empty":
            raise ModelAnswerError("The model's answer was empty.")
        return Completion(
            text=without_thoughts(self.text),
            finish_reason=self.finish_reason,
            usage=self.usage,
            model=self.model,
            provider=self.provider,
            rung=self.rung,
            is_replayed=is_replayed,
        )


def read_answer(
    response: JSONValue, call: ModelCall, *, base_url: str, latency_s: float
) -> Answer | None:
    """Return what a response holds, or nothing when it is no completion at all."""
    choices = _part(response, "choices")
    if not isinstance(choices, list):
        return None
    choice = choices[0] if choices else None
    message = _part(choice, "message")
    return Answer(
        text=_content(_part(message, "content")),
        finish_reason=_text(_part(choice, "finish_reason")) or "stop",
        refusal=_text(_part(message, "refusal")),
        model=_text(_part(response, "model"))[:_MAX_NAME] or call.model,
        provider=call.provider,
        rung=call.rung,
        usage=_usage(_part(response, "usage"), call, base_url, latency_s),
    )


def from_record(record: str) -> Answer:
    """Return the answer that ``to_record`` wrote."""
    stored: dict[str, Any] = json.loads(record)
    return Answer(**{**stored, "usage": ModelUsage(**stored["usage"])})


def without_thoughts(text: str) -> str:
    """Return ``text`` without ``<think>`` blocks, stripped.

    Some chat templates put the opening tag into the prompt, so that only the
    closing one comes back.
    """
    return _THOUGHT_TAIL.sub("", _THOUGHT.sub("", text)).strip()


def _part(value: JSONValue, key: str) -> JSONValue:
    """Return what an object holds under a key; nothing of what is no object."""
    return value.get(key) if isinstance(value, dict) else None


def _content(value: JSONValue) -> str:
    """Return a message's text; some servers send it as a list of parts."""
    if isinstance(value, list):
        return "".join(_text(_part(part, "text")) for part in value)
    return _text(value)


def _text(value: JSONValue) -> str:
    """Return a text that every database and every encoding can hold."""
    if not isinstance(value, str):
        return ""
    # JSON may hold half a character, and NUL, which PostgreSQL refuses.
    whole = value.encode("utf-8", "replace").decode()
    return whole.replace("\0", "\N{REPLACEMENT CHARACTER}")


def _usage(
    usage: JSONValue, call: ModelCall, base_url: str, latency_s: float
) -> ModelUsage:
    """Read the usage; what is missing or absurd is estimated at the call's bounds."""
    details = _part(usage, "prompt_tokens_details")
    counted_in = _count(_part(usage, "prompt_tokens"), call.input_tokens)
    counted_out = _count(_part(usage, "completion_tokens"), call.output_tokens)
    input_tokens = call.input_tokens if counted_in is None else counted_in
    cached_tokens = _count(_part(details, "cached_tokens"), input_tokens) or 0
    written_tokens = _count(_part(details, "cache_write_tokens"), input_tokens)
    return ModelUsage(
        input_tokens=input_tokens,
        output_tokens=call.output_tokens if counted_out is None else counted_out,
        cached_tokens=min(cached_tokens, input_tokens),
        is_estimated=counted_in is None or counted_out is None,
        latency_s=latency_s,
        price=settled_price(
            base_url,
            call.model,
            input_tokens=input_tokens,
            cached_tokens=min(cached_tokens, input_tokens),
            written_tokens=written_tokens or 0,
            reserved=call.price,
        ),
    )


def _count(value: JSONValue, bound: int) -> int | None:
    """Return a believable count: positive, and not ten times what can have been.

    A provider counts by its own tokens and adds a template, so it may exceed our
    bound; the ledger then records an overrun. Zero is what servers say that do not
    count.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 < value <= 10 * bound else None
