"""Find values and attacks in one text: as it is, as it reads, and what it encodes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from reflex.decide import Checkpoint, Sign, combine
from reflex.decoding import readings
from reflex.engine import Engine, Hit, engine
from reflex.learned import learned_findings
from reflex.normalize import NormalizedText, normalize
from reflex.quoting import is_discussed
from reflex.rules import END, Rule, load_rules
from reflex.validators import VALIDATORS, Span

# Second bytes and later ones of a character in UTF-8.
_CONTINUATIONS = bytes(range(0x80, 0xC0))
# How far a rule may look around a match, in code points.
_CONTEXT = 160
# Into how many encodings, one within the other, a text is followed.
_DEPTH = 3
# A weak sign repeated nearer than this says nothing new.
_SIGN_SPACING = 300
# How many candidates of one attack are looked at in a text.
_MAX_TRIES = 300
_MILDER = {"high": "medium", "medium": "low", "low": "low"}
# Of overlapping values the first of these names the whole stretch.
_PRECEDENCE = ("SECRET", "CARD", "IBAN", "SSN", "EMAIL", "IP", "PHONE", "LITERAL")


@dataclass(frozen=True, kw_only=True)
class Match:
    """One thing found; the span is in code points of the text as it was given.

    Attributes:
        severity: that of the rule, unless ``because`` says why it is another.
        reading: how the text had to be read: empty as it is, ``normalized``,
            ``decoded``, ``leetspeak``, ``spaced`` or ``rot13``.
        because: ``talk`` if it is only talked about, ``together`` if other signs
            beside it made it count as high, ``flood`` if there were too many like it.
    """

    rule: Rule
    severity: str
    start: int
    end: int
    reading: str = ""
    because: str = ""


def detect(
    text: str, *, checkpoint: Checkpoint, by: Engine | None = None
) -> tuple[Match, ...]:
    """Return what the rules of this checkpoint find, by position.

    Values do not overlap each other: overlapping ones become one that covers them
    all. Attacks of one family do not overlap each other either. A rule of low
    severity is a sign only; it is returned when others beside it make it count.

    Args:
        text: any text.
        checkpoint: which rules apply.
        by: another engine than this process's own.

    Raises:
        ScreeningUnavailableError: the engine cannot run.
    """
    search = _Search(by or engine(), checkpoint)
    search.run(text)
    for rule, finding in learned_findings(text, checkpoint):
        start, end = finding.start, finding.end
        search.found.append(
            Match(rule=rule, severity=finding.severity, start=start, end=end)
        )
    if not search.found:
        return ()
    return tuple(_combined(_resolved(search.found), text))


class _Search:
    """One text, scanned as often as it has readings."""

    def __init__(self, scanner: Engine, checkpoint: Checkpoint) -> None:
        self._scanner = scanner
        self._checkpoint = checkpoint
        self.found: list[Match] = []

    def run(self, text: str) -> None:
        gates = self._scan(text, ())
        normalized = normalize(text)
        ways: tuple[NormalizedText, ...] = ()
        if normalized is not None:
            ways = (normalized,)
            gates |= self._scan(normalized.text, ways, "normalized")
            text = normalized.text
        if gates:
            self._read(text, gates, ways)

    def _read(
        self, text: str, gates: Iterable[str], ways: tuple[NormalizedText, ...]
    ) -> None:
        """Scan what the gates announce, and once more what that announces."""
        for reading in readings(text, frozenset(gates)):
            inner = (*ways, reading.text)
            more = self._scan(
                reading.text.text, inner, reading.name, has_values=reading.has_values
            )
            if more and reading.name == "decoded" and len(ways) < _DEPTH:
                self._read(reading.text.text, more, inner)

    def _scan(
        self,
        text: str,
        ways: Sequence[NormalizedText],
        name: str = "",
        *,
        has_values: bool = True,
    ) -> set[str]:
        """Collect the matches in one reading; return the gates that were seen."""
        hits = scan(text, self._scanner)
        if not hits:
            return set()
        patterns = load_rules().patterns
        for match in validated(text, hits, self._checkpoint):
            if has_values or not match.rule.is_value:
                self.found.append(_placed(match, ways, name))
        return {patterns[hit[0]].gate for hit in hits} - {""}


def _placed(match: Match, ways: Sequence[NormalizedText], name: str) -> Match:
    """Return the match of a reading as one of the original."""
    if not name:
        return match
    start, end = match.start, match.end
    for way in reversed(ways):
        start, end = way.original_span(start, end)
    return Match(
        rule=match.rule,
        severity=match.severity,
        start=start,
        end=end,
        reading=name,
        because=match.because,
    )


def matches_in(text: str, scanner: Engine, checkpoint: Checkpoint) -> Iterator[Match]:
    """Yield every validated match in the text as it is, overlapping ones too."""
    return validated(text, scan(text, scanner), checkpoint)


def scan(text: str, scanner: Engine) -> list[Hit]:
    """Return what the engine finds, in code points."""
    content = text.encode("utf-8", "surrogatepass")
    hits = scanner.scan(content)
    if hits and len(content) != len(text):
        return _in_code_points(content, hits)
    return hits


def validated(
    text: str, hits: Iterable[Hit], checkpoint: Checkpoint
) -> Iterator[Match]:
    """Yield a match for every hit that its rules confirm.

    Of one attack a text needs few examples. One with many times as many candidates
    is made to hide something: the rest counts as found, a step milder.
    """
    patterns = load_rules().patterns
    seen: dict[int, int] = {}
    covered: dict[str, int] = {}
    for index, start, end in hits:
        rules = patterns[index].rules
        number = seen[index] = seen.get(index, 0) + 1
        if number > _MAX_TRIES and rules and not rules[0].is_value:
            if number == _MAX_TRIES + 1:
                yield from _flood(rules, start, end)
            continue
        for rule in rules:
            if start < covered.get(rule.id, 0):
                continue
            match = _validated(rule, text, start, end, checkpoint)
            if match is not None:
                covered[rule.id] = match.end + _spacing(rule)
                yield match


def _spacing(rule: Rule) -> int:
    return _SIGN_SPACING if rule.severity == "low" and not rule.is_value else 0


def _flood(rules: Iterable[Rule], start: int, end: int) -> Iterator[Match]:
    for rule in rules:
        if rule.severity == "high":
            yield Match(
                rule=rule, severity="medium", start=start, end=end, because="flood"
            )


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
        (pattern, points[start] - _is_inside(content, start), points[end])
        for pattern, start, end in hits
    ]


def _is_inside(content: bytes, offset: int) -> bool:
    """Return whether the offset lies within a character, which then counts whole."""
    return offset < len(content) and 0x80 <= content[offset] < 0xC0


def _validated(
    rule: Rule, text: str, start: int, end: int, checkpoint: Checkpoint
) -> Match | None:
    if rule.checkpoints and checkpoint not in rule.checkpoints:
        return None
    span = _confirmed(rule, text, start, end) if rule.is_conditional else (start, end)
    if span is None:
        return None
    start, end = span
    # Talk about an attack is not one; it stays noted, a step milder.
    is_attack = not rule.is_value and rule.severity != "low"
    if is_attack and is_discussed(text, start, end, family=rule.family):
        return Match(
            rule=rule,
            severity=_MILDER[rule.severity],
            start=start,
            end=end,
            because="talk",
        )
    return Match(rule=rule, severity=rule.severity, start=start, end=end)


def _confirmed(rule: Rule, text: str, start: int, end: int) -> Span | None:
    """Return the span of a match whose surroundings are as the rule demands."""
    # Looking ahead from one place is cheaper than searching what lies before.
    if rule.followed_by:
        after = rule.followed_by.match(text, end, end + _CONTEXT)
        if after is None:
            return None
        end = after.end()
    if rule.preceded_by:
        before = rule.preceded_by.search(text, max(0, start - _CONTEXT), start)
        if before is None:
            return None
        start = before.start()
    return (
        VALIDATORS[rule.validator](text, start, end) if rule.validator else (start, end)
    )


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


def _combined(found: Sequence[Match], text: str) -> list[Match]:
    """Raise signs that the policy takes more seriously together; drop lone weak ones."""
    raised: set[int] = set()
    for indexes in _by_piece(_signs(found), found, text):
        piece = [
            Sign(
                start=found[index].start,
                family=found[index].rule.family,
                severity=found[index].severity,
            )
            for index in indexes
        ]
        raised.update(indexes[position] for position in combine(piece))
    return [
        (
            replace(match, severity="high", because="together")
            if index in raised
            else match
        )
        for index, match in enumerate(found)
        if index in raised or match.rule.is_value or match.rule.severity != "low"
    ]


def _signs(found: Sequence[Match]) -> list[int]:
    """Return which matches count as signs; the same words count once, the heaviest."""
    signs: list[int] = []
    for index, match in enumerate(found):
        if match.rule.is_value or match.severity == "high" or match.because:
            continue
        last = found[signs[-1]] if signs else None
        if last is None or match.start >= last.end:
            signs.append(index)
        elif match.severity != last.severity:
            signs[-1] = index if last.severity == "low" else signs[-1]
        elif match.end > last.end and match.start > last.start:
            signs.append(index)
    return signs


def _by_piece(
    indexes: Iterable[int], found: Sequence[Match], text: str
) -> list[list[int]]:
    """Group matches by the text of the document they stand in.

    Words in two reviews of a list are no attack of either.
    """
    pieces: list[list[int]] = []
    position = 0
    for index in indexes:
        start = found[index].start
        if not pieces or text.find(END, position, start) >= 0:
            pieces.append([])
        pieces[-1].append(index)
        position = start
    return pieces


def _merged(one: Match, other: Match) -> Match:
    """Return the match that decides, over all that both cover."""
    winner = min(one, other, key=_rank)
    # What lies within a longer value is a part of it: four groups of an IBAN.
    if one.rule.is_value and other.end < one.end:
        winner = one
    return replace(
        winner, start=min(one.start, other.start), end=max(one.end, other.end)
    )


def _rank(match: Match) -> tuple[int, int, int, str]:
    value_type = match.rule.type
    precedence = _PRECEDENCE.index(value_type) if value_type in _PRECEDENCE else -1
    severity = ("high", "medium", "low").index(match.severity)
    return precedence, severity, match.start - match.end, match.rule.id
