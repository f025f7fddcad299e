"""What a reflex elsewhere answers, read with no trust in it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, Field

from reflex.found import Found
from reflex.placeholders import LITERAL

MAX_MATCHES = 50_000
_FAMILIES = {"SECRET": "secret", LITERAL: "literal"}
_Name = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_.-]{0,63}$")]
_Severity = Literal["low", "medium", "high"]


class _Match(BaseModel):
    start: int = Field(ge=0)
    end: int
    rule: _Name


class ValueMatch(_Match):
    """A value to conceal."""

    # It becomes a placeholder, so it must have the form of one.
    type: Annotated[str, Field(pattern=r"^[A-Z](?:_?[A-Z])*$", max_length=31)]
    severity: _Severity = "medium"
    confidence: float = Field(default=1.0, ge=0.0, le=1.0)


class AttackMatch(_Match):
    """What wants to give orders."""

    family: _Name
    severity: _Severity


class RemoteAnswer(BaseModel):
    """The part of an answer of ``/process`` that counts here."""

    pii_matches: list[ValueMatch] = Field(max_length=MAX_MATCHES)
    injection_matches: list[AttackMatch] = Field(max_length=MAX_MATCHES)
    literal_matches: list[ValueMatch] = Field(default=[], max_length=MAX_MATCHES)
    ruleset_version: str = Field(default="remote", max_length=40)

    def check(self, length: int) -> None:
        """Refuse matches that are not stretches of a text of that length.

        Raises:
            ValueError: there is one.
        """
        matches: list[_Match] = [*self._values(), *self.injection_matches]
        if any(not match.start < match.end <= length for match in matches):
            raise ValueError("A match lies outside the text.")

    def found(self) -> list[Found]:
        """Return all matches, by position; what overlaps is as it came."""
        values = [
            Found(
                rule_id=match.rule,
                family=_FAMILIES.get(match.type, "pii"),
                type=match.type,
                severity=match.severity,
                start=match.start,
                end=match.end,
            )
            for match in self._values()
        ]
        attacks = [
            Found(
                rule_id=match.rule,
                family=match.family,
                type="",
                severity=match.severity,
                start=match.start,
                end=match.end,
            )
            for match in self.injection_matches
        ]
        return sorted([*values, *attacks], key=lambda f: (f.start, f.end, f.rule_id))

    def _values(self) -> list[ValueMatch]:
        return [*self.pii_matches, *self.literal_matches]


class RemoteReadiness(BaseModel):
    """Whether the other one is ready."""

    status: str
