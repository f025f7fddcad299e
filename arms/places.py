"""Where an arm is; apart from what calls it, which loads the HTTP library."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an arm is, and the token it wants; without one when empty."""

    name: str
    url: str
    token: str = field(default="", repr=False)
