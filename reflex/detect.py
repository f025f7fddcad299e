"""Find values and attacks in one text; all engines, raw and normalised."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from reflex.decide import Checkpoint
from reflex.engine import Engine, Hit, engine
from reflex.normalize import normalize
from reflex.quoting import is_discussed
from reflex.rules import Rule, load_rules
from reflex.validators import VALIDATORS

# Second bytes and later ones of a character in UTF-8.
_CONTINUATIONS = bytes(range(0x80, 0xC0))
_MILDER = {"high": "medium", "medium": "low", "low": "low"}
# Of overlapping values the first of these names the whole stretch.
_PRECEDENCE = ("SECRET", "CARD", "IBAN", "SSN", "EMAIL", "IP", "PHONE", "LITERAL")


@dataclass(frozen=True, kw_only=True)
class Match:
    """One thing found; the span is in code points of the text as it was given."""

    rule: Rule
    severity: str
    start: int
    end: int


def detect(
    text: str, *, checkpoint: Checkpoint, by: Engine | None = None
) -> tuple[Match, ...]:
    """Return what the rules of this checkpoint find, by position.

    Values do not overlap each other: overlapping ones become one that covers them
    all. Attacks of one family do not overlap each other either.

    Args:
        text: any text.
        checkpoint: which rules apply.
        by: another engine than this process's own.

    Raises:
        ScreeningUnavailableError: the engine cannot run.
    """
    scanner = by or engine()
    found = list(matches_in(text, scanner, checkpoint))
    normalized = normalize(text)
    if normalized is not None:
        for match in matches_in(normalized.text, scanner, checkpoint):
            start, end = normalized.original_span(match.start, match.end)
            found.append(_moved(match, start, end))
    return tuple(_resolved(found)) if found else ()


def matches_in(text: str, scanner: Engine, checkpoint: Checkpoint) -> Iterator[Match]:
    """Yield every validated match in the text as it is, overlapping ones too."""
    content = text.encode("utf-8", "surrogatepass")
    hits = scanner.scan(content)
    if not hits:
        return
    if len(content) != len(text):
        hits = _in_code_points(content, hits)
    rules = load_rules().rules
    for index, start, end in hits:
        rule = rules[index]
        if not rule.checkpoints or checkpoint in rule.checkpoints:
            match = _validated(rule, text, start, end)
            if match is not None:
                yield match


def _in_code_points(content: bytes, hits: Sequence[Hit]) -> list[Hit]:
    """Turn offsets in bytes into offsets in code points, in one pass."""
    offsets = sorted({offset for _, *span in hits for offset in span})
    position = count = 0
    points: dict[int, int] = {}
    for offset in offsets:
        # As many characters begin here as there are bytes that continue none.
        count += len(content[position:offset].translate(None, _CONTINUATIONS))
        points[offset] = count
        position = offset
    return [
        (rule, points[start] - _is_inside(content, start), points[end])
        for rule, start, end in hits
    ]


def _is_inside(content: bytes, offset: int) -> bool:
    """Return whether the offset lies within a character, which then counts whole."""
    return offset < len(content) and 0x80 <= content[offset] < 0xC0


def _validated(rule: Rule, text: str, start: int, end: int) -> Match | None:
    if rule.validator:
        span = VALIDATORS[rule.validator](text, start, end)
        if span is None:
            return None
        start, end = span
    severity = rule.severity
    # Talk about an attack is not one; it stays noted, a step milder.
    if not rule.is_value and is_discussed(text, start, end):
        severity = _MILDER[severity]
    return Match(rule=rule, severity=severity, start=start, end=end)


def _resolved(found: Iterable[Match]) -> list[Match]:
    kept: dict[str, list[Match]] = {}
    for match in sorted(found, key=lambda m: (m.start, -m.end, m.rule.id)):
        lane = kept.setdefault("" if match.rule.is_value else match.rule.family, [])
        if lane and match.start < lane[-1].end:
            lane[-1] = _merged(lane[-1], match)
        else:
            lane.append(match)
    return sorted(
        (match for lane in kept.values() for match in lane),
        key=lambda m: (m.start, m.end, m.rule.id),
    )


def _merged(one: Match, other: Match) -> Match:
    """Return the match that decides, over all that both cover."""
    winner = min(one, other, key=_rank)
    return _moved(winner, min(one.start, other.start), max(one.end, other.end))


def _rank(match: Match) -> tuple[int, int, int, str]:
    value_type = match.rule.type
    precedence = _PRECEDENCE.index(value_type) if value_type in _PRECEDENCE else -1
    severity = ("high", "medium", "low").index(match.severity)
    return precedence, severity, match.start - match.end, match.rule.id


def _moved(match: Match, start: int, end: int) -> Match:
    return Match(rule=match.rule, severity=match.severity, start=start, end=end)
