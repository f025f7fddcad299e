"""How long and how dear steps of a capability were; whoever runs steps tells."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import TypeAlias

from django.utils.module_loading import import_string

logger = logging.getLogger(__name__)

FRESH_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Observed:
    """What the last steps of one capability of one arm took.

    Attributes:
        count: how many steps the figures come from.
        p50_s, p90_s: seconds that half and nine of ten stayed below.
        p50_cost_usd, p90_cost_usd: USD, likewise.
        p50_tokens: of models, that half stayed below.
    """

    count: int
    p50_s: float
    p90_s: float
    p50_cost_usd: Decimal = Decimal(0)
    p90_cost_usd: Decimal = Decimal(0)
    p50_tokens: int = 0


# By arm and capability.
Observations: TypeAlias = Mapping[tuple[str, str], Observed]


class _Known:
    """Where to ask, and what was answered last."""

    def __init__(self) -> None:
        self.path = ""
        self.asked_at = float("-inf")
        self.observations: Observations = {}


_known = _Known()


def register(path: str) -> None:
    """Name the function that returns ``Observations``, by its dotted path.

    What another one said is forgotten; with no path nothing is known.
    """
    _known.path, _known.asked_at, _known.observations = path, float("-inf"), {}


def observations() -> Observations:
    """Return what was observed, at most a minute old; empty when nobody can tell."""
    if _known.path and time.monotonic() - _known.asked_at >= FRESH_S:
        _known.asked_at = time.monotonic()
        _known.observations = _ask(import_string(_known.path))
    return _known.observations


def _ask(source: Callable[[], Observations]) -> Observations:
    try:
        return source()
    except Exception:
        # Estimates by the catalogue are good enough to go on with.
        logger.exception("what steps took before could not be read")
        return {}
