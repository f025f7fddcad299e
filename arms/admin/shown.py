"""What several pages show of an instance alike; looked up for a whole page at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from arms.registry import IN_PROCESS
from arms.registry_models import ArmInstance
from arms.standing import (
    CLOSED,
    BreakerState,
    Check,
    Places,
    breakers_of,
    last_checks,
    places_of,
)

COLOURS = {
    "healthy": "success",
    "degraded": "warning",
    "starting": "info",
    "down": "danger",
    "draining": "primary",
    "disabled": "default",
}
BREAKER_COLOURS = {"closed": "success", "half open": "warning", "open": "danger"}
_GREEN, _RED, _AMBER = "#16a34a", "#dc2626", "#d97706"
# A failure stands out by its height, too.
_BAR = "display:inline-block;width:3px;height:{}px;background:{};border-radius:1px"
_STRIP = "display:inline-flex;align-items:flex-end;gap:1px;height:20px"


@dataclass(frozen=True, kw_only=True)
class Look:
    """How an instance stands beside what its row says."""

    breaker: BreakerState = CLOSED
    places: Places | None = None
    checks: Sequence[Check] = field(default_factory=list)


def look_at(rows: Iterable[ArmInstance]) -> None:
    """Give each row its ``look``, in three queries for all of them."""
    known: list[Any] = list(rows)
    breakers, places = breakers_of(known), places_of(known)
    checks = last_checks(each.pk for each in known)
    for row in known:
        row.look = Look(
            breaker=breakers.get(row.pk, CLOSED),
            places=places.get(row.pk),
            checks=checks.get(row.pk, []),
        )


def strip(row: Any) -> SafeString:
    """Return the last checks of an instance as bars, the newest on the right."""
    checks: Sequence[Check] = row.look.checks
    is_here = row.location == IN_PROCESS
    bars = format_html_join(
        "", '<span style="{}" title="{}"></span>', map(_bar, checks)
    )
    return format_html(
        '<span role="img" aria-label="{}" style="{}">{}</span>'
        '<span style="display:block;font-size:11px;white-space:nowrap">{}</span>',
        *(_told(checks, is_here=is_here), _STRIP, bars),
        _counted(checks, is_here=is_here),
    )


def moment(at: datetime) -> str:
    """Return a moment in UTC to the second."""
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def latency(row: ArmInstance) -> str:
    """Return how long checks take."""
    return "-" if row.latency_ms is None else f"{row.latency_ms:.0f} ms"


def places(row: Any) -> str:
    """Return how many places of an instance are taken."""
    found: Places | None = row.look.places
    return "no limit" if found is None else f"{found.taken} of {found.all}"


def breaker(row: Any) -> str:
    """Return the state of an instance's breaker in words."""
    found: BreakerState = row.look.breaker
    return found.state.replace("_", " ")


def _bar(check: Check) -> tuple[str, str]:
    if check.is_healthy:
        style = _BAR.format(12, _GREEN)
    else:
        style = _BAR.format(20, _AMBER if check.source == "call" else _RED)
    return style, _titled(check)


def _titled(check: Check) -> str:
    took = "" if check.latency_ms is None else f", {check.latency_ms:.0f} ms"
    word = "well" if check.is_healthy else f"failed: {check.detail or 'no reason'}"
    return f"{moment(check.at)}, {check.source}: {word}{took}"


def _counted(checks: Sequence[Check], *, is_here: bool) -> str:
    if not checks:
        return "no failure" if is_here else "not checked yet"
    failures = sum(not each.is_healthy for each in checks)
    if is_here:
        # Its self-checks that went well are not kept.
        return f"{failures} failures kept"
    share = 100 * (len(checks) - failures) / len(checks)
    return f"{share:.0f} % of {len(checks)} well"


def _told(checks: Sequence[Check], *, is_here: bool) -> str:
    """Return in words what the bars show."""
    last = next((each for each in reversed(checks) if not each.is_healthy), None)
    told = f"Last checks: {_counted(checks, is_here=is_here)}."
    return f"{told} The last failure: {_titled(last)}" if last else told
