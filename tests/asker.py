"""An arm for tests that asks a model, as arms that write or summarise will.

It runs inside real worker processes: what it asks comes with the step's input.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from pathlib import Path
from typing import Any

from django.db import connections

from arms import llm
from arms.contract import (
    ArmReply,
    ArmRequest,
    ArmServices,
    ArmSpec,
    Capability,
    Health,
)
from arms.llm import Message
from octollm.types import JSONValue

# What a step of the capability ``ask_dear`` has for an envelope, in dollars.
DEAR_USD = Decimal("0.3")
_ANY: dict[str, JSONValue] = {"type": "object"}
_ANSWERS: dict[str, JSONValue] = {"type": "object", "properties": {"answers": {}}}


def _capability(name: str, description: str, cost_usd: Decimal) -> Capability:
    return Capability(
        name=name,
        description=description,
        input_schema=_ANY,
        output_schema=_ANSWERS,
        cost_usd=cost_usd,
        seconds=0.1,
        uses=("model",),
    )


class AskerArm:
    """Asks a model one question per text, in order or all at once."""

    spec = ArmSpec(
        name="asker",
        version="1",
        description="Asks a model, for tests.",
        is_repeatable=True,
        capabilities=(
            _capability("ask", "Asks about each text.", Decimal(0)),
            _capability("ask_dear", "Asks about each text.", DEAR_USD),
        ),
    )

    def execute(self, request: ArmRequest, services: ArmServices) -> ArmReply:
        """Ask about each of ``texts``.

        Before number ``gate_before`` it leaves a mark beside the file ``gate`` and
        waits until that is there; with ``at_once`` all are asked at the same time.
        """
        given: dict[str, Any] = dict(request.input)
        texts = [str(text) for text in given["texts"]]

        def ask(number: int) -> str:
            if given.get("gate_before") == number:
                _wait(Path(given["gate"]), request, services)
            return _answer(texts[number], given, services)

        numbers = range(len(texts))
        if given.get("at_once"):
            answers = _at_once(ask, len(texts))
        else:
            answers = [ask(number) for number in numbers]
        return ArmReply(output={"answers": list[JSONValue](answers)})

    def check(self) -> Health:
        """Be well."""
        return Health(is_healthy=True)


def _at_once(ask: Any, count: int) -> list[str]:
    def one(number: int) -> str:
        try:
            return str(ask(number))
        finally:
            connections.close_all()

    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(one, range(count)))


def _answer(text: str, given: dict[str, Any], services: ArmServices) -> str:
    return llm.complete(
        [Message(role="user", content=text)],
        purpose="analysis",
        services=services,
        max_output_tokens=int(given.get("max_output_tokens", 100)),
    ).text


def _wait(gate: Path, request: ArmRequest, services: ArmServices) -> None:
    gate.with_name(f"{gate.name}.{request.step_id}.{request.attempt}").touch()
    while not gate.exists():
        services.stop.check()
        time.sleep(0.01)
