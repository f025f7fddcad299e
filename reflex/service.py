"""The reflex as a service: a text goes in, what is in it and a clean copy come out.

No answer and no cache holds a value that was found; nothing is stored.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from octollm import metrics
from octollm.types import JSONObject
from reflex import cache, detection
from reflex.decide import Action, Checkpoint, strictest
from reflex.found import Found
from reflex.placeholders import LITERAL
from reflex.redact import Style, redact
from reflex.rules import load_rules

# How sure a match of a value is: whether a check digit, a numbering plan or the words
# around it were looked at, or its form is all there is.
CONFIDENCE_VALIDATED = 0.95
CONFIDENCE_FORM = 0.8


@dataclass(frozen=True, kw_only=True)
class Wish:
    """What a caller wants to know of a text."""

    text: str
    check_pii: bool = True
    check_injection: bool = True
    checkpoint: Checkpoint = Checkpoint.REQUEST
    redaction: Style = Style.PLACEHOLDER
    use_cache: bool = True


def process(wish: Wish) -> JSONObject:
    """Return what is in a text, what the policy says of it, and the text without it.

    Raises:
        ScreeningUnavailableError: the engine cannot run.
    """
    started = time.perf_counter()
    found, is_hit = _find(wish)
    literals = [f for f in found if f.type == LITERAL]
    values = [f for f in found if f.is_value and f.type != LITERAL]
    attacks = [f for f in found if not f.is_value]
    actions = [detection.action_of(f, wish.checkpoint) for f in (*values, *attacks)]
    action = strictest(actions)
    # Ours could not be told from what only looks like one of them.
    is_numbered = wish.redaction == Style.PLACEHOLDER
    hidden = [f for f in found if f.is_value] if is_numbered else values
    answer: JSONObject = {
        "status": "blocked" if action == Action.BLOCK else "success",
        "action": action,
        "pii_detected": bool(values),
        "pii_matches": [_value(f) for f in values],
        "injection_detected": bool(attacks),
        "injection_matches": [_attack(f) for f in attacks],
        "literal_matches": [_value(f) for f in literals],
        "redacted_text": redact(wish.text, hidden, wish.redaction),
        "ruleset_version": load_rules().version,
        "cache_hit": is_hit,
    }
    duration_s = time.perf_counter() - started
    detection.count((*values, *attacks), actions)
    metrics.REFLEX_SCREENINGS.labels(wish.checkpoint, action).inc()
    metrics.REFLEX_DURATION.labels(wish.checkpoint).observe(duration_s)
    answer["processing_time_ms"] = round(duration_s * 1000, 3)
    return answer


def _find(wish: Wish) -> tuple[Sequence[Found], bool]:
    """Return what is wanted of what is in the text, and whether it was known."""
    if not wish.use_cache:
        return _find_anew(wish), False
    key = cache.key_of(
        wish.text,
        check_pii=wish.check_pii,
        check_injection=wish.check_injection,
        checkpoint=wish.checkpoint,
    )
    known = cache.look_up(key, length=len(wish.text))
    if known is not None:
        return known, True
    found = _find_anew(wish)
    cache.keep(key, found)
    return found, False


def _find_anew(wish: Wish) -> list[Found]:
    found = detection.find_here(wish.text, checkpoint=wish.checkpoint).found
    return [
        f for f in found if (wish.check_pii if f.is_value else wish.check_injection)
    ]


def _value(found: Found) -> JSONObject:
    sure = CONFIDENCE_VALIDATED if found.is_validated else CONFIDENCE_FORM
    return {
        "type": found.type,
        "start": found.start,
        "end": found.end,
        "rule": found.rule_id,
        "severity": found.severity,
        "confidence": sure,
    }


def _attack(found: Found) -> JSONObject:
    return {
        "family": found.family,
        "severity": found.severity,
        "start": found.start,
        "end": found.end,
        "rule": found.rule_id,
    }
