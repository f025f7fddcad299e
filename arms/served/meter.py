"""The meter of an arm that runs away from the task's ledger.

It keeps the model calls of one request within what the request allows; what they cost
goes back with the reply.
"""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID, uuid4

from arms.contract import ModelCall, ModelUsage, Recorded, StepBudget, Usage
from octollm.errors import BudgetBusyError, BudgetExceededError

_ZERO = Decimal(0)


@dataclass(frozen=True, kw_only=True)
class _Spent:
    """What one call took, at most or really."""

    cost_usd: Decimal = _ZERO
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


class LocalMeter:
    """The ``Meter`` of one request: refuses what its budget does not hold."""

    def __init__(self, budget: StepBudget) -> None:
        """Start with nothing spent."""
        self._budget = budget
        self._lock = threading.Lock()
        self._asked: Counter[str] = Counter()
        self._held: dict[UUID, ModelCall] = {}
        self._spent: list[_Spent] = []
        self._models: list[str] = []

    def replay(self, request_hash: str) -> Recorded:
        """Number a call; nothing is kept from one life to the next."""
        with self._lock:
            nth = self._asked[request_hash]
            self._asked[request_hash] += 1
        return Recorded(nth=nth)

    def reserve(self, call: ModelCall) -> UUID:
        """Hold the worst case of a call.

        Raises:
            BudgetBusyError: other calls of the request hold what is needed.
            BudgetExceededError: it does not fit.
        """
        need = _worst(call)
        with self._lock:
            held = [_worst(other) for other in self._held.values()]
            self._refuse(need, self._spent, held)
            charge_id = uuid4()
            self._held[charge_id] = call
        return charge_id

    def settle(self, charge_id: UUID, usage: ModelUsage, reply: str) -> None:
        """Count what was really used; the reply is nobody's here."""
        with self._lock:
            call = self._held.pop(charge_id)
            price = usage.price or call.price
            cost_usd = price.cost_usd(
                input_tokens=usage.input_tokens,
                output_tokens=usage.output_tokens,
                cached_tokens=usage.cached_tokens,
            )
            self._count(
                call,
                _Spent(
                    cost_usd=cost_usd,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                ),
            )

    def presume(self, charge_id: UUID) -> None:
        """Count the worst case: the request was sent and the reply was lost."""
        with self._lock:
            call = self._held.pop(charge_id)
            self._count(call, _worst(call))

    def book_usage(self, request_id: UUID, usage: Usage, *, arm: str, at: str) -> None:
        """Count what another arm says that it used."""
        with self._lock:
            self._models.append(usage.model or arm)
            self._spent.append(
                _Spent(
                    cost_usd=usage.cost_usd,
                    input_tokens=usage.input_tokens,
                    output_tokens=usage.output_tokens,
                )
            )

    def release(self, charge_id: UUID) -> None:
        """Give the hold back."""
        with self._lock:
            del self._held[charge_id]

    def usage(self) -> Usage | None:
        """Return what all calls took so far, or nothing if there were none."""
        with self._lock:
            held = [(call.model, _worst(call)) for call in self._held.values()]
            spent = [*self._spent, *(worst for _, worst in held)]
            models = [*self._models, *(model for model, _ in held)]
        if not spent:
            return None
        return Usage(
            cost_usd=sum((each.cost_usd for each in spent), _ZERO),
            input_tokens=sum(each.input_tokens for each in spent),
            output_tokens=sum(each.output_tokens for each in spent),
            model=models[-1],
        )

    def _count(self, call: ModelCall, spent: _Spent) -> None:
        self._spent.append(spent)
        self._models.append(call.model)

    def _refuse(self, need: _Spent, spent: list[_Spent], held: list[_Spent]) -> None:
        """Raise if a call does not fit beside what was spent and is held."""
        room = self._room(spent)
        room_now = self._room([*spent, *held])
        for limit, is_over, is_over_now in (
            ("cost", need.cost_usd > room[0], need.cost_usd > room_now[0]),
            ("tokens", need.tokens > room[1], need.tokens > room_now[1]),
        ):
            if is_over or is_over_now:
                kind = BudgetExceededError if is_over else BudgetBusyError
                raise kind(
                    f"The request allows no further call of a model ({limit}).",
                    limit=limit,
                    room_usd=max(_ZERO, room_now[0]),
                    room_tokens=max(0, room_now[1]),
                )

    def _room(self, taken: list[_Spent]) -> tuple[Decimal, int]:
        cost_usd = sum((each.cost_usd for each in taken), _ZERO)
        tokens = sum(each.tokens for each in taken)
        return self._budget.max_cost_usd - cost_usd, self._budget.max_tokens - tokens


def _worst(call: ModelCall) -> _Spent:
    return _Spent(
        cost_usd=call.dearest_usd,
        input_tokens=call.input_tokens,
        output_tokens=call.output_tokens,
    )
