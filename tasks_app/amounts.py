"""Dollars and tokens: how they are counted, and what tokens cost."""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import Decimal

from arms.contract import CallPrice, ModelCall
from tasks_app.models import NANO_PER_USD


@dataclass(frozen=True, kw_only=True)
class Amount:
    """Dollars in nano-dollars, and tokens."""

    nano: int = 0
    tokens: int = 0

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.nano or self.tokens)

    def __sub__(self, other: Amount) -> Amount:
        """Return what is left without ``other``."""
        return Amount(nano=self.nano - other.nano, tokens=self.tokens - other.tokens)

    def within(self, other: Amount) -> Amount:
        """Return as much of this as ``other`` holds."""
        return Amount(
            nano=max(0, min(self.nano, other.nano)),
            tokens=max(0, min(self.tokens, other.tokens)),
        )


def to_nano(usd: Decimal) -> int:
    """Return dollars as whole nano-dollars, rounded up."""
    return math.ceil(usd * NANO_PER_USD)


def to_usd(nano: int) -> Decimal:
    """Return nano-dollars as dollars, exact."""
    return Decimal(nano) / NANO_PER_USD


def cost_nano(
    price: CallPrice, *, input_tokens: int, output_tokens: int, cached_tokens: int = 0
) -> int:
    """Return what tokens cost in nano-dollars, rounded up.

    ``cached_tokens`` are those of ``input_tokens`` that the provider had in its cache.
    """
    usd = price.cost_usd(
        input_tokens=input_tokens,
        output_tokens=output_tokens,
        cached_tokens=cached_tokens,
    )
    return to_nano(usd)


def worst_case(call: ModelCall) -> Amount:
    """Return the most that a call may take: cached input may be the dearer one."""
    return Amount(
        nano=to_nano(call.dearest_usd), tokens=call.input_tokens + call.output_tokens
    )
