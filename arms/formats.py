"""Asking for a structured answer in the strictest format that the server takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from arms import llm
from arms.answers import Completion
from arms.contract import ArmServices
from arms.llm import ANY_OBJECT, Message
from octollm.errors import ModelFormatError
from octollm.types import JSONValue


class FormatLadder:
    """From a JSON schema over JSON mode down to plain text.

    A server that refuses one format is asked in the next, and this ladder does not
    climb again. Whatever the format, the answer is only text that has to be checked:
    some servers ignore a schema, and none enforces all of it. The schema's gist
    belongs into the prompt, and the word JSON.
    """

    def __init__(self, json_schema: Mapping[str, JSONValue]) -> None:
        """Start on the strictest rung."""
        # The plainest form comes last and is taken by every server.
        self._formats: list[Mapping[str, JSONValue] | None] = [
            json_schema,
            ANY_OBJECT,
            None,
        ]

    def complete(
        self,
        messages: Sequence[Message],
        *,
        purpose: str,
        services: ArmServices,
        max_output_tokens: int,
        temperature: float,
    ) -> Completion:
        """Return the model's answer; arguments and errors are those of ``llm``."""
        while True:
            try:
                return llm.complete(
                    messages,
                    purpose=purpose,
                    services=services,
                    max_output_tokens=max_output_tokens,
                    temperature=temperature,
                    json_schema=self._formats[0],
                )
            except ModelFormatError:
                if len(self._formats) == 1:
                    raise
                del self._formats[0]
