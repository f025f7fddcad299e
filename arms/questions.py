"""What a model is asked, whoever answers it and in whatever form."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final, Literal

from arms.contract import CallPrice, ModelCall
from arms.providers import Provider
from arms.token_counts import estimate_tokens
from octollm.errors import BudgetExceededError
from octollm.types import JSONObject, JSONValue
from reflex.fingerprints import fingerprint
from reflex.screening import find_pii

Rung = Literal["json_schema", "json_object", "text"]
#: How strictly the form of an answer is asked for, the strictest first. Every server
#: takes the last.
RUNGS: Final[tuple[Rung, ...]] = ("json_schema", "json_object", "text")

#: An answer is cut to what the budget leaves, but not below this share.
LEAST_SHARE: Final = 0.25

# Servers refuse JSON mode, or send white space until they are cut off, when the
# prompt does not hold the word.
_ASK_FOR_JSON = "Answer with one JSON object and nothing else."


@dataclass(frozen=True, kw_only=True)
class Message:
    """One message of a prompt."""

    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """A prompt with its limits; ``messages`` are as they leave.

    Attributes:
        json_schema: what the answer should look like, or nothing for any text.
        nth: its number among the equal questions of the attempt; no part of ``hash``.
        shortened_to: what the budget leaves of ``max_output_tokens``; likewise.
    """

    messages: tuple[Message, ...]
    purpose: str
    max_output_tokens: int
    temperature: float
    json_schema: Mapping[str, JSONValue] | None
    nth: int = 0
    shortened_to: int | None = None

    @property
    def output_limit(self) -> int:
        """How many tokens the answer may have."""
        if self.shortened_to is None:
            return self.max_output_tokens
        return self.shortened_to

    @property
    def hash(self) -> str:
        """Tell equal questions, whoever is asked and in whatever form.

        A resumed step finds the answer that it paid for by this.
        """
        asked: JSONObject = {
            "messages": [*self._sent_messages()],
            "purpose": self.purpose,
            "max_output_tokens": self.max_output_tokens,
            "temperature": self.temperature,
            "schema": None if self.json_schema is None else dict(self.json_schema),
        }
        return fingerprint(asked, purpose="llm")

    def body(self, provider: Provider, rung: Rung) -> JSONObject:
        """Return the request to a provider."""
        body: JSONObject = {
            "model": provider.model_for(self.purpose),
            "messages": [*self._sent_messages()],
            provider.max_output_field: self.output_limit,
        }
        if provider.takes_temperature:
            body["temperature"] = self.temperature
        response_format = self._response_format(rung)
        if response_format is not None:
            body["response_format"] = response_format
        return body

    def call(self, provider: Provider, rung: Rung, price: CallPrice) -> ModelCall:
        """Return what the request may cost at most."""
        return ModelCall(
            purpose=self.purpose,
            model=provider.model_for(self.purpose),
            request_hash=self.hash,
            nth=self.nth,
            input_tokens=self._input_bound(rung),
            output_tokens=self.output_limit,
            price=price,
            provider=provider.name,
            rung=rung,
        )

    def shortened(self, call: ModelCall, refused: BudgetExceededError) -> Question:
        """Return the question with an answer as long as the budget allows.

        Raises:
            BudgetExceededError: ``refused``, if less than a quarter of the answer fits.
                A plan is not shortened: it is asked for with a smaller prompt first.
        """
        room = min(
            refused.room_tokens - call.input_tokens,
            _affordable(call, refused.room_usd),
        )
        is_enough = LEAST_SHARE * self.max_output_tokens <= room < self.output_limit
        if self.purpose == "planning" or not is_enough:
            raise refused
        return replace(self, shortened_to=room)

    def _sent_messages(self) -> list[JSONObject]:
        return [{"role": each.role, "content": each.content} for each in self.messages]

    def _response_format(self, rung: Rung) -> JSONObject | None:
        if rung == "text" or self.json_schema is None:
            return None
        if rung == "json_object":
            return {"type": "json_object"}
        named: JSONObject = {
            "name": "reply",
            "schema": dict(self.json_schema),
            "strict": True,
        }
        return {"type": "json_schema", "json_schema": named}

    def _input_bound(self, rung: Rung) -> int:
        """Return a careful count of tokens, with those of the chat's template.

        Providers that put the schema into the prompt count it too.
        """
        parts = [message.content for message in self.messages]
        response_format = self._response_format(rung)
        if response_format is not None:
            parts.append(json.dumps(response_format))
        return sum(estimate_tokens(part) + 4 for part in parts)


def make_question(
    messages: Sequence[Message],
    *,
    purpose: str,
    max_output_tokens: int,
    temperature: float,
    json_schema: Mapping[str, JSONValue] | None,
) -> Question:
    """Return a question that may leave: nothing private, and JSON asked for in words.

    What arrives here is concealed already; this holds when a caller forgot.
    """
    texts = [_guarded(message.content) for message in messages]
    if json_schema is not None and not any("json" in each.lower() for each in texts):
        texts[-1] = f"{texts[-1]}\n\n{_ASK_FOR_JSON}"
    return Question(
        messages=tuple(
            Message(role=message.role, content=text)
            for message, text in zip(messages, texts, strict=True)
        ),
        purpose=purpose,
        max_output_tokens=max_output_tokens,
        temperature=temperature,
        json_schema=json_schema,
    )


def _affordable(call: ModelCall, usd: Decimal) -> int:
    """Return how many tokens of output dollars buy beside a call's input."""
    price = call.price
    left = usd * 1_000_000 - price.dearest_input * call.input_tokens
    if left < 0:
        return 0
    if not price.output_per_million:
        return call.output_tokens
    return int(left / price.output_per_million)


def _guarded(text: str) -> str:
    """Return ``text`` with everything that looks private replaced by its type."""
    shown, end = [], 0
    for finding in find_pii(text):
        shown += [text[end : finding.start], f"[{finding.type}]"]
        end = finding.end
    return "".join((*shown, text[end:]))
