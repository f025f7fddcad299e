"""What is in a text, found by this process or a reflex elsewhere, and what to do.

Only detection can be elsewhere. What to do with a finding, and the values, stay here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from django.conf import settings

from octollm import metrics
from octollm.resilience.deadline import StopToken
from reflex.decide import Action, Checkpoint, action_for
from reflex.detect import detect
from reflex.found import Found
from reflex.rules import load_rules

BLOCKING_IS_OFF = "blocking is off (OCTOLLM_REFLEX_ENABLED)"


@dataclass(frozen=True, kw_only=True)
class Detection:
    """What was found in one text, by position, and by which rules."""

    found: Sequence[Found]
    ruleset_version: str


def is_remote() -> bool:
    """Say whether a reflex elsewhere is asked.

    Not while blocking is off: what must be concealed then can be found here, and
    whoever turns it off because the other one is away wants to go on.
    """
    return bool(settings.OCTOLLM_REFLEX_URL) and settings.OCTOLLM_REFLEX_ENABLED


def find(text: str, *, checkpoint: Checkpoint) -> Detection:
    """Return what the reflex that is set finds in a text.

    Asks over the network if that one is elsewhere, so callers hold no transaction.

    Raises:
        ScreeningUnavailableError: it cannot say; the text must not be taken.
    """
    if not is_remote():
        return find_here(text, checkpoint=checkpoint)
    stop = StopToken(settings.OCTOLLM_REFLEX_TIMEOUT_S)
    from reflex import client  # the HTTP library, which few processes need

    found, version = client.find(text, checkpoint=checkpoint, stop=stop)
    return Detection(found=found, ruleset_version=version)


def find_here(text: str, *, checkpoint: Checkpoint) -> Detection:
    """Return what the rules of this process find in a text.

    Raises:
        ScreeningUnavailableError: the engine cannot run.
    """
    found = [
        Found(
            rule_id=match.rule.id,
            family=match.rule.family,
            type=match.rule.type,
            severity=match.severity,
            start=match.start,
            end=match.end,
            is_validated=bool(match.rule.validator),
        )
        for match in detect(text, checkpoint=checkpoint)
    ]
    return Detection(found=found, ruleset_version=load_rules().version)


def action_of(found: Found, checkpoint: Checkpoint) -> Action:
    """Return what is done with a finding; nothing blocks while blocking is off."""
    action = action_for(checkpoint, value_type=found.type, severity=found.severity)
    if action == Action.BLOCK and not settings.OCTOLLM_REFLEX_ENABLED:
        return Action.REDACT if found.is_value else Action.FLAG
    return action


def count(found: Sequence[Found], actions: Sequence[Action]) -> None:
    """Count findings by family and by what is done with them, for the metrics."""
    if not found:
        return
    pairs = Counter((f.family, a) for f, a in zip(found, actions, strict=True))
    for (family, action), number in pairs.items():
        # A remote reflex may have families that we do not: they share a series.
        known = family if family in _families() else "other"
        metrics.REFLEX_FINDINGS.labels(known, action).inc(number)


@cache
def _families() -> frozenset[str]:
    return frozenset(rule.family for rule in load_rules().rules)
