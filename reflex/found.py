"""One thing that was found in a text, whoever found it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class Found:
    """A stretch of a text and why it matters; never the text itself.

    Attributes:
        family: ``pii``, ``secret``, ``literal``, or the kind of injection.
        type: of a value, such as ``EMAIL``; empty for an injection.
        severity: ``low``, ``medium`` or ``high``.
        start: first code point.
        end: the one after the last.
        is_validated: whether more than its form was looked at, such as a check digit.
    """

    rule_id: str
    family: str
    type: str
    severity: str
    start: int
    end: int
    is_validated: bool = False

    @property
    def is_value(self) -> bool:
        """Whether it is a value to conceal rather than an attack."""
        return bool(self.type)
