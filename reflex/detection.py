"""Where the findings of a text come from: this process, or a reflex elsewhere.

Only detection can be elsewhere. What to do with a finding, and the values, stay here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.conf import settings

from octollm.resilience.deadline import StopToken
from reflex import client
from reflex.decide import Checkpoint
from reflex.detect import detect
from reflex.found import Found
from reflex.rules import load_rules


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
