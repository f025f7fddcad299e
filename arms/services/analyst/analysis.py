"""What the analyst's pieces of work give back, and small helpers to write it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from arms.services.analyst.texts import Check
from octollm.errors import ArmInputError
from octollm.types import JSONObject


@dataclass(frozen=True, kw_only=True)
class Analysis:
    """What one capability found, and how sure it is; 0.0 to 1.0 or unknown."""

    output: JSONObject
    confidence: float | None
    reason: str


Work = Callable[[JSONObject, Check], Analysis]


def whole_number(given: JSONObject, name: str, *, default: int, most: int) -> int:
    """Return a whole number of the input, at most ``most``.

    Raises:
        ArmInputError: it is no whole number from 1.
    """
    value = given.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ArmInputError(f"“{name}” must be a whole number from 1.")
    return min(value, most)


def remarks(*parts: str) -> str:
    """Join what there is to say."""
    return " ".join(part for part in parts if part)
