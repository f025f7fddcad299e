"""The slot for a learned detector: off unless ``OCTOLLM_REFLEX_DETECTOR`` names one.

A package offers one as an entry point of the group ``octollm.reflex_detectors``: a
callable without arguments that returns an object with ``find``. What it finds counts
beside the rules and cannot take anything away from them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from typing import Protocol

from django.conf import settings

from octollm.errors import ScreeningUnavailableError
from reflex.rules import SEVERITIES, Rule

GROUP = "octollm.reflex_detectors"


@dataclass(frozen=True, kw_only=True)
class LearnedFinding:
    """An attack that a model sees.

    Attributes:
        start: first code point.
        end: the one after the last.
        severity: ``low``, ``medium`` or ``high``.
        family: the kind of attack, if the model tells; ``learned`` otherwise.
    """

    start: int
    end: int
    severity: str
    family: str = "learned"


class Detector(Protocol):
    """What the entry point's callable returns; called from several threads."""

    def find(self, text: str, checkpoint: str) -> Iterable[LearnedFinding]:
        """Return the attacks in a text that is screened at a checkpoint."""
        ...


def learned_findings(text: str, checkpoint: str) -> list[tuple[Rule, LearnedFinding]]:
    """Return what the chosen detector finds, each with a rule to its name.

    Raises:
        ScreeningUnavailableError: it is not installed, or failed, or talks rubbish.
    """
    name = settings.OCTOLLM_REFLEX_DETECTOR
    if not name:
        return []
    try:
        found = list(_detector(name).find(text, checkpoint))
        return [(_rule(name, f), f) for f in found if _is_sound(f, text)]
    except ScreeningUnavailableError:
        raise
    # It is code of others; a text that it cannot judge has not been screened.
    except Exception as error:
        raise ScreeningUnavailableError(f"Detector {name}: {error!r}") from error


@cache
def _detector(name: str) -> Detector:
    for entry in entry_points(group=GROUP, name=name):
        detector: Detector = entry.load()()
        return detector
    raise ScreeningUnavailableError(f"OCTOLLM_REFLEX_DETECTOR: no detector {name!r}.")


def _is_sound(finding: LearnedFinding, text: str) -> bool:
    if finding.severity not in SEVERITIES:
        raise ValueError(f"severity {finding.severity!r}")
    if not 0 <= finding.start < finding.end <= len(text):
        raise ValueError(f"span {finding.start} to {finding.end}")
    return True


@cache
def _learned_rule(name: str, family: str, severity: str) -> Rule:
    return Rule(
        id=f"learned.{name}",
        family=family,
        type="",
        severity=severity,
        pattern="",
        preceded_by=None,
        followed_by=None,
        validator="",
        checkpoints=frozenset(),
        is_case_sensitive=False,
        source=f"detector {name}",
        matches=(),
        misses=(),
    )


def _rule(name: str, finding: LearnedFinding) -> Rule:
    return _learned_rule(name, finding.family, finding.severity)
