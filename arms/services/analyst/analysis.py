"""What the analyst's pieces of work give back, and small helpers to write it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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


_MOST_NAMES = 1_000
# A goal; what is longer is not searched for what it names.
_LONGEST_QUESTION = 4_000

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


def choice(
    given: JSONObject, name: str, choices: Sequence[str], *, default: str
) -> str:
    """Return which of a fixed set is given, as a text or as a list of one.

    Raises:
        ArmInputError: it is none of them.
    """
    value = given.get(name)
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value is None or value == []:
        return default
    if not isinstance(value, str) or value.strip().casefold() not in choices:
        raise ArmInputError(f"“{name}” must be one of {', '.join(choices)}.")
    return value.strip().casefold()


def names(given: JSONObject, name: str) -> list[str]:
    """Return the texts in a list, or the one text; none if nothing is given.

    Raises:
        ArmInputError: it is something else.
    """
    value = given.get(name)
    members = [value] if isinstance(value, str) else value or []
    if not isinstance(members, list) or len(members) > _MOST_NAMES:
        raise ArmInputError(f"“{name}” must be a text or a list of up to 1,000 texts.")
    texts = [member for member in members if isinstance(member, str) and member.strip()]
    if len(texts) < len(members):
        raise ArmInputError(f"“{name}” must be a text or a list of texts.")
    return texts


def question_of(given: JSONObject) -> str:
    """Return the question of an input in one line, empty if there is none."""
    question = given.get("question")
    if not isinstance(question, str):
        return ""
    return " ".join(question[:_LONGEST_QUESTION].split())


def remarks(*parts: str) -> str:
    """Join what there is to say."""
    return " ".join(part for part in parts if part)
