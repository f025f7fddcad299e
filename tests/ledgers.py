"""A ledger in memory, for tests of what makes model calls."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from arms.contract import ArmServices, ModelCall, ModelUsage, Recorded, Usage
from octollm.errors import BudgetExceededError
from octollm.resilience.deadline import StopToken


@dataclass
class MemoryMeter:
    """Keeps every charge and how it ended: held, settled, presumed or released."""

    states: dict[UUID, str] = field(default_factory=dict)
    calls: list[ModelCall] = field(default_factory=list)
    usages: list[ModelUsage] = field(default_factory=list)
    replies: dict[tuple[str, int], str] = field(default_factory=dict)
    reported: dict[UUID, Usage] = field(default_factory=dict)
    max_tokens: int = 1_000_000
    _asked: Counter[str] = field(default_factory=Counter)

    @property
    def outcomes(self) -> list[str]:
        """How the charges ended, in the order of their reservation."""
        return list(self.states.values())

    def next_attempt(self) -> None:
        """Start over as a resumed step does: recorded replies are given again."""
        self._asked.clear()

    def replay(self, request_hash: str) -> Recorded:
        nth = self._asked[request_hash]
        self._asked[request_hash] += 1
        return Recorded(nth=nth, reply=self.replies.get((request_hash, nth)))

    def reserve(self, call: ModelCall) -> UUID:
        if call.input_tokens + call.output_tokens > self.max_tokens:
            raise BudgetExceededError(limit="tokens")
        charge_id = uuid4()
        self.calls.append(call)
        self.states[charge_id] = "held"
        return charge_id

    def settle(self, charge_id: UUID, usage: ModelUsage, reply: str) -> None:
        call = self.calls[list(self.states).index(charge_id)]
        self.replies[call.request_hash, call.nth] = reply
        self.usages.append(usage)
        self._end(charge_id, "settled")

    def presume(self, charge_id: UUID) -> None:
        self._end(charge_id, "presumed")

    def release(self, charge_id: UUID) -> None:
        self._end(charge_id, "released")

    def book_usage(self, request_id: UUID, usage: Usage, *, arm: str, at: str) -> None:
        self.reported[request_id] = usage

    def _end(self, charge_id: UUID, state: str) -> None:
        assert self.states[charge_id] == "held", "a charge ends once"
        self.states[charge_id] = state


def make_services(
    meter: MemoryMeter | None = None,
    *,
    timeout_s: float = 20.0,
    knowledge_scope: UUID | None = None,
    is_repeat: bool = False,
) -> ArmServices:
    """Return services with a ledger in memory and a fresh clock."""
    return ArmServices(
        meter=meter or MemoryMeter(),
        stop=StopToken(timeout_s),
        knowledge_scope=knowledge_scope,
        is_repeat=is_repeat,
    )
