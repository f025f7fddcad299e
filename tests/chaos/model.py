"""A model server for chaos: plans and judges, fails, hangs, and loses its answers.

What it does to a request depends on the run's seed, the order that the request is
about, and how often it was asked about that order; on nothing else.
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.chaos.plans import (
    MENDED,
    can_be_mended,
    mending_steps,
    oddity_of,
    steps_of,
)
from tests.fakes import (
    Answer,
    FakeModel,
    Received,
    completion,
    error,
    hang,
    reset,
    slow,
)

# Of each hundred requests so many end like this; the others are answered at once.
FAULTS = {"error": 8, "hang": 4, "reset": 5, "nonsense": 3, "slow": 10}
_ORDER = re.compile(r"[Oo]rder (\d+)")
_VERSION = re.compile(r'"version": (\d+), "why_again"')
_REQUEST = re.compile(r"<request>(.*?)</request>", re.DOTALL)
_QUESTIONS = re.compile(r"Criteria by id:\n(.*?)\n\nBEGIN RESULT", re.DOTALL)
# Marks each answer, so that one that was booked twice is found.
MARK = re.compile(r"answer-\d+-of-chaos")


@dataclass
class ChaosModel(FakeModel):
    """The server.

    Attributes:
        faults: how many requests met each fault, by its name.
        marks: of the answers that were begun to be sent, each with its order.
        misread: what could not be answered, by the fault of this server.
    """

    seed: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    marks: dict[str, int] = field(default_factory=dict)
    misread: list[str] = field(default_factory=list)
    _asked: Counter[tuple[str, int]] = field(default_factory=Counter)
    _number_of_mark: Any = field(default_factory=lambda: itertools.count(1))

    def take(self, received: Received) -> Answer:
        """Note a request and return what to answer it with."""
        super().take(received)
        try:
            return self._answer(received.body["messages"])
        except Exception as error:
            # Callers would only see a connection that breaks.
            self.misread.append(f"{type(error).__name__}: {error}")
            raise

    def _answer(self, messages: list[dict[str, str]]) -> Answer:
        # Without the rules, which tell what the other parts look like.
        prompt = "\n".join(m["content"] for m in messages if m["role"] != "system")
        is_plan = _REQUEST.search(prompt)
        order = int(_ORDER.findall(is_plan[1] if is_plan else prompt)[0])
        with self._lock:
            purpose = "plan" if is_plan else "judge"
            self._asked[purpose, order] += 1
            nth = self._asked[purpose, order]
            fault = _fault(Random(f"{self.seed}/model/{purpose}/{order}/{nth}"))
            self.faults[fault or "none"] += 1
            mark = f"answer-{next(self._number_of_mark)}-of-chaos"
            self.marks[mark] = order
        content = (
            self._plan(order, prompt, mark)
            if is_plan
            else self._judge(order, prompt, mark)
        )
        return _spoilt(completion(content), fault, mark)

    def _plan(self, order: int, prompt: str, mark: str) -> str:
        before = _VERSION.search(prompt)
        steps = (
            mending_steps(self.seed, order, int(before[1]) + 1)
            if before
            else steps_of(self.seed, order)
        )
        steps[0]["description"] += f" ({mark})"
        return json.dumps({"steps": steps} | ({"replaces": []} if before else {}))

    def _judge(self, order: int, prompt: str, mark: str) -> str:
        is_mended = can_be_mended(order) and MENDED in prompt
        is_unmet = oddity_of(self.seed, order) == "unmet" and not is_mended
        verdict = "not_met" if is_unmet else "met"
        asked = _QUESTIONS.search(prompt)
        items = [
            {"id": name, "verdict": verdict, "evidence": f"See {mark}", "score": 0.9}
            for name in json.loads(asked[1] if asked else "{}")
        ]
        return json.dumps({"verdicts": items})


def _fault(random: Random) -> str:
    place = random.randrange(100)
    for name, share in FAULTS.items():
        place -= share
        if place < 0:
            return name
    return ""


def _spoilt(answer: Answer, fault: str, mark: str) -> Answer:
    spoilt: dict[str, Answer] = {
        "error": error(500),
        "hang": hang(),
        "reset": reset(),
        "nonsense": completion(f"I would rather not. {mark}"),
        "slow": slow(1.5, answer),
    }
    return spoilt.get(fault, answer)
