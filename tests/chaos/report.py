"""What a chaos run shows, as text."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.chaos.fleet import Blow
from tests.chaos.invariants import Finding
from tests.chaos.recoveries import Recovery, percentiles
from tests.chaos.told import Told

# Of what breaks an invariant so many sentences are shown.
SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """All that a run left.

    Attributes:
        command: what replays it.
        tasks: how many were to be submitted.
        elapsed_s: from the first submission to the last task's end.
        ends: how many tasks ended how.
        outages: seconds until each was back, by who was away.
        deaths: how often each ended without having been struck.
        faults: how many requests to the model met each fault.
        notes: further figures, one sentence each.
    """

    command: str
    seed: int
    tasks: int
    elapsed_s: float
    told: Told
    blows: Sequence[Blow]
    ends: Counter[str]
    recoveries: Sequence[Recovery]
    outages: Mapping[str, Sequence[float]]
    deaths: Mapping[str, int]
    faults: Counter[str]
    findings: Sequence[Finding]
    notes: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """Whether every invariant does."""
        return all(finding.holds for finding in self.findings)


def render(outcome: Outcome) -> str:
    """Return the report."""
    sections = (
        _head(outcome),
        _strikes(outcome),
        _tasks(outcome),
        _recovery(outcome),
        invariants(outcome.findings),
    )
    return "\n".join(line for section in sections for line in (*section, ""))


def command(module: str, options: argparse.Namespace) -> str:
    """Return the command that makes the same run again."""
    arguments = [
        f"--{name}={value}"
        for name, value in vars(options).items()
        if name not in ("report", "logs")
    ]
    return shlex.join([Path(sys.executable).name, "-m", module, *arguments])


def _head(outcome: Outcome) -> Iterator[str]:
    verdict = "every invariant holds" if outcome.holds else "INVARIANTS ARE BROKEN"
    yield f"# Chaos, seed {outcome.seed}: {verdict}"
    yield ""
    yield f"Replay: `{outcome.command}`"


def _strikes(outcome: Outcome) -> Iterator[str]:
    by_kind: dict[str, list[Blow]] = {}
    for blow in outcome.blows:
        by_kind.setdefault(blow.kind, []).append(blow)
    yield f"## Strikes: {len(outcome.blows)}"
    yield ""
    for kind, blows in sorted(by_kind.items()):
        times = ", ".join(
            f"{blow.at_s:.1f}" if blow.target else f"({blow.at_s:.1f})"
            for blow in blows
        )
        yield f"- {kind}: {len(blows)}, at {times} s"
    yield "- in brackets: nobody was there to be struck"
    if outcome.deaths:
        yield f"- ended by themselves: {_listed(outcome.deaths)}"
    yield f"- requests to the model by fault: {_listed(outcome.faults)}"


def _tasks(outcome: Outcome) -> Iterator[str]:
    told = outcome.told
    rate = sum(outcome.ends.values()) / max(outcome.elapsed_s, 1) * 60
    yield f"## Tasks: {len(told.accepted)} accepted of {outcome.tasks}"
    yield ""
    yield f"- ended: {_listed(outcome.ends)}"
    yield f"- in {outcome.elapsed_s:.0f} s, {rate:.0f} a minute"
    answers = {str(k) if k else "none": v for k, v in told.answers.items()}
    yield f"- answers to callers by status: {_listed(answers)}"
    obeyed = {wish: len(numbers) for wish, numbers in told.obeyed.items()}
    yield f"- callers' later wishes that were granted: {_listed(obeyed)}"
    yield f"- submissions that were answered from an earlier one: {told.repeats}"
    yield f"- an accepted submission was answered in {percentiles(told.latencies)}"
    yield from (f"- {note}" for note in outcome.notes)


def _recovery(outcome: Outcome) -> Iterator[str]:
    yield "## Recovery"
    yield ""
    held = outcome.recoveries
    noticed = [r.noticed_s for r in held if r.noticed_s is not None]
    resumed = [r.resumed_s for r in held if r.resumed_s is not None]
    yield f"- a killed worker's step was taken back after {percentiles(noticed)}"
    yield f"- and started again, by its priority, after {percentiles(resumed)}"
    rest = Counter(r.outcome for r in held if r.resumed_s is None)
    if rest:
        yield f"- not started again, by the attempt's outcome: {_listed(rest)}"
    for name, away in outcome.outages.items():
        yield f"- {name} was away for {percentiles(away)}"


def invariants(findings: Sequence[Finding]) -> Iterator[str]:
    """Yield a line for each invariant, and below it what breaks it."""
    yield "## Invariants"
    yield ""
    for finding in findings:
        count = len(finding.broken)
        yield f"- {finding.name}: {count} broken, {finding.checked} checked"
        yield from (f"  - {sentence}" for sentence in finding.broken[:SHOWN])
        if count > SHOWN:
            yield f"  - and {count - SHOWN} more"


def _listed(counts: Mapping[str, int]) -> str:
    parts = (f"{name} {count}" for name, count in sorted(counts.items()) if count)
    return ", ".join(parts) or "none"
