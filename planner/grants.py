"""What a plan may use: its grants, and the ceilings that they must stay within.

A ceiling is either the operator's policy (``OCTOLLM_PLAN_POLICY``) or what the first
plan of a task was granted, before any tainted text was read.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from octollm.types import JSONObject, JSONValue

EVERYTHING = "*"
KINDS = ("arms", "tools", "commands", "hosts")


@dataclass(frozen=True, kw_only=True)
class Grants:
    """Names of what is used, or of what may be used.

    In a ceiling ``*`` allows every name and ``*.example.org`` every host below it.
    """

    arms: frozenset[str] = frozenset()
    tools: frozenset[str] = frozenset()
    commands: frozenset[str] = frozenset()
    hosts: frozenset[str] = frozenset()

    def of_kind(self, kind: str) -> frozenset[str]:
        """Return the names of one of ``KINDS``."""
        names: frozenset[str] = getattr(self, kind)
        return names

    def allows(self, kind: str, name: str) -> bool:
        """Tell whether this ceiling allows a name of a kind."""
        allowed = self.of_kind(kind)
        if EVERYTHING in allowed or name in allowed:
            return True
        below = (each[1:] for each in allowed if each.startswith("*."))
        return kind == "hosts" and any(name.endswith(end) for end in below)

    def beyond(self, ceiling: Grants) -> tuple[tuple[str, str], ...]:
        """Return the kind and name of all that ``ceiling`` does not allow, in order."""
        return tuple(
            (kind, name)
            for kind in KINDS
            for name in sorted(self.of_kind(kind))
            if not ceiling.allows(kind, name)
        )

    def joined(self, other: Grants) -> Grants:
        """Return the names of both."""
        return Grants(
            **{kind: self.of_kind(kind) | other.of_kind(kind) for kind in KINDS}
        )

    def within(self, ceiling: Grants) -> bool:
        """Tell whether ``ceiling`` allows all of this."""
        return not self.beyond(ceiling)

    def to_json(self) -> JSONObject:
        """Return sorted lists of names by kind."""
        return {kind: list[JSONValue](sorted(self.of_kind(kind))) for kind in KINDS}

    @classmethod
    def of_pairs(cls, pairs: Iterable[Sequence[str]]) -> Grants:
        """Return what pairs of kind and name name, as ``beyond`` gives them."""
        found: dict[str, set[str]] = {kind: set() for kind in KINDS}
        for kind, name in pairs:
            found[kind].add(name)
        return cls(**{kind: frozenset(names) for kind, names in found.items()})

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Grants:
        """Return what ``to_json`` wrote; a kind that is missing has no names."""
        return cls(**{kind: frozenset(stored.get(kind, ())) for kind in KINDS})


NOTHING = Grants()


def is_pattern(kind: str, name: str) -> bool:
    """Tell whether a name, once it is in a ceiling, allows other names too."""
    return name == EVERYTHING or (kind == "hosts" and name.startswith("*."))


def policy() -> Grants:
    """Return the operator's ceiling.

    Raises:
        ImproperlyConfigured: the setting cannot be read.
    """
    return read_policy(settings.OCTOLLM_PLAN_POLICY)


@lru_cache(maxsize=8)
def read_policy(text: str) -> Grants:
    """Return the ceiling that JSON describes; kinds it does not name keep theirs.

    Raises:
        ImproperlyConfigured: it is no such JSON.
    """
    try:
        given = _Policy.model_validate_json(text or "{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "the whole"
        raise ImproperlyConfigured(
            f"OCTOLLM_PLAN_POLICY cannot be read: {place}: {first['msg']}."
        ) from error
    return Grants.from_json(given.model_dump())


def _as_list(value: object) -> object:
    return [value] if isinstance(value, str) else value


_Names = Annotated[list[str], BeforeValidator(_as_list)]


class _Policy(BaseModel):
    """Arms and tools were registered by the operator; hosts and commands were not."""

    model_config = ConfigDict(extra="forbid")

    arms: _Names = [EVERYTHING]
    tools: _Names = [EVERYTHING]
    commands: _Names = []
    hosts: _Names = []
