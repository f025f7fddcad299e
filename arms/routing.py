"""Where an invocation goes, and why; so far every arm has one instance."""

from __future__ import annotations

from dataclasses import dataclass

from arms.registry import IN_PROCESS, get_arm, location_of

ONLY_ONE = "the only instance"
# Why an invocation that may have begun goes on where it does.
REPEATED = f"{ONLY_ONE}; its store was asked first"
REPEATED_WITHOUT_STORE = f"{ONLY_ONE}; asked again, at least once on a crash: no store"


@dataclass(frozen=True, kw_only=True)
class Route:
    """The chosen instance, by its location, and why; empty when there is none."""

    instance: str = ""
    reason: str = ""


def route_of(arm_name: str, *, is_repeat: bool) -> Route:
    """Return where a step's invocation goes; ``is_repeat`` if it may have begun."""
    location = location_of(arm_name)
    if not location:
        return Route()
    if location == IN_PROCESS or not is_repeat:
        return Route(instance=location, reason=ONLY_ONE)
    has_store = get_arm(arm_name).spec.has_store
    reason = REPEATED if has_store else REPEATED_WITHOUT_STORE
    return Route(instance=location, reason=reason)
