"""What the recovery drill shows, as text."""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence

from tests.chaos.drill import Kill
from tests.chaos.invariants import Finding
from tests.chaos.recoveries import p95, percentiles
from tests.chaos.report import command, invariants

TARGET_S = 45.0


def is_good(kills: Sequence[Kill], findings: Sequence[Finding]) -> bool:
    """Tell whether the target is met and every invariant holds."""
    return p95(_slowest(kills)) <= TARGET_S and all(f.holds for f in findings)


def render(
    kills: Sequence[Kill], findings: Sequence[Finding], options: argparse.Namespace
) -> str:
    """Return the report."""
    slowest = _slowest(kills)
    head = (
        f"# Recovery after kill -9 of a worker: p95 {p95(slowest):.1f} s over "
        f"{len(kills)} kills; target {TARGET_S:g} s"
    )
    replay = f"Replay: `{command('tests.chaos.recovery', options)}`"
    sections = (_every(kills), _summary(kills), invariants(findings))
    body = [line for section in sections for line in (*section, "")]
    return "\n".join([head, "", replay, "", *body])


def _every(kills: Sequence[Kill]) -> Iterator[str]:
    for number, kill in enumerate(kills, start=1):
        steps = ", ".join(
            f"{_said(each.noticed_s)} / {_said(each.resumed_s)}"
            for each in kill.recoveries
        )
        role = ", the reaper's leader" if kill.was_leader else ""
        yield (
            f"- kill {number} at {kill.blow.at_s:.1f} s, {kill.blow.target}{role}: "
            f"taken back / started again after {steps} s"
        )


def _summary(kills: Sequence[Kill]) -> Iterator[str]:
    held = [recovery for kill in kills for recovery in kill.recoveries]
    noticed = [each.noticed_s for each in held if each.noticed_s is not None]
    resumed = [each.resumed_s for each in held if each.resumed_s is not None]
    yield f"- steps were taken back after {percentiles(noticed)}"
    yield f"- and started again after {percentiles(resumed)}"
    yield f"- the last of each kill's after {percentiles(_slowest(kills))}"


def _said(seconds: float | None) -> str:
    return "never" if seconds is None else f"{seconds:.1f}"


def _slowest(kills: Sequence[Kill]) -> list[float]:
    """Return the seconds that each kill took; endless where a step never went on."""
    times = [kill.slowest_s for kill in kills]
    return [math.inf if seconds is None else seconds for seconds in times]
