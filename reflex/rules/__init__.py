r"""The rule table: data files beside this module, read once per process.

A rule says what to look for (``pattern``), what it means (``family``, ``type``,
``severity``) and proves itself by examples. All engines share the patterns, so
they keep to what hyperscan, RE2 and ``re`` understand alike on bytes: no
look-around, no back-references, ASCII ``\w`` and ``\b``. No pattern may match
``END``, and only one that names ``ASSIGN`` may match that.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from octollm.errors import ScreeningUnavailableError
from reflex.folding import fold

# Between two texts of a document; and between a key and its own value, so that
# {"password": "…"} reads like "password: …".
END = "\x00"
ASSIGN = "\x1f"

# Written into examples where they would look like a secret to a scanner of
# repositories, or like a control character to a person; replaced when loaded.
_MARKS = {"¦": "", "␟": ASSIGN}
_FILES = (
    "pii.toml",
    "secrets.toml",
    "injection.toml",
    "jailbreaks.toml",
    "languages.toml",
    "signals.toml",
)
_GATES = "gates.toml"
SEVERITIES = ("low", "medium", "high")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """One line of the table.

    Attributes:
        family: ``pii``, ``secret``, or the kind of injection.
        type: of the value, such as ``EMAIL``; empty for an injection.
        pattern: one regular expression, matched without regard to ASCII case
            unless ``is_case_sensitive``.
        preceded_by: what must end where a match starts, for ``re``; a match grows
            over it. What hyperscan would need large tables for is asked only where
            the pattern, its rarer half, was found.
        followed_by: the same for what must begin where a match ends.
        validator: name in ``reflex.validators``; it keeps, trims or drops a match.
        checkpoints: where the rule applies; everywhere when empty.
        source: where the format is described, or ``own``.
        matches: texts in which the rule finds something.
        misses: texts in which it finds nothing.
    """

    id: str
    family: str
    type: str
    severity: str
    pattern: str
    preceded_by: re.Pattern[str] | None
    followed_by: re.Pattern[str] | None
    validator: str
    checkpoints: frozenset[str]
    is_case_sensitive: bool
    source: str
    matches: tuple[str, ...]
    misses: tuple[str, ...]

    @cached_property
    def is_value(self) -> bool:
        """Whether a match is a value to conceal rather than an attack."""
        return bool(self.type)

    @cached_property
    def is_conditional(self) -> bool:
        """Whether a match of the pattern alone says nothing yet."""
        return bool(self.validator or self.preceded_by or self.followed_by)


@dataclass(frozen=True, kw_only=True)
class Pattern:
    """What an engine looks for; rules that look for the same share one.

    Attributes:
        rules: those that ask for it, in the order of the table.
        gate: name of what it announces, instead of rules; that it occurs is all
            that counts.
    """

    text: str
    is_case_sensitive: bool
    rules: tuple[Rule, ...] = ()
    gate: str = ""


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What announces a text within a text; see ``reflex.decoding``."""

    id: str
    pattern: str
    matches: tuple[str, ...]
    misses: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RuleTable:
    """All rules, in the order of the files, and a version that names their content."""

    rules: tuple[Rule, ...]
    gates: tuple[Gate, ...]
    patterns: tuple[Pattern, ...]
    version: str


@cache
def load_rules() -> RuleTable:
    """Return the rule table.

    Raises:
        ScreeningUnavailableError: a file is missing or a rule is malformed.
    """
    digest = hashlib.sha256()
    rules: list[Rule] = []
    try:
        for name in _FILES:
            content = (Path(__file__).parent / name).read_bytes()
            digest.update(content)
            rules.extend(_parse(content.decode()))
        content = (Path(__file__).parent / _GATES).read_bytes()
        digest.update(content)
        gates = _gates(content.decode())
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ScreeningUnavailableError(f"The rule table is broken: {error}") from error
    return RuleTable(
        rules=tuple(rules),
        gates=gates,
        patterns=_patterns(rules, gates),
        version=digest.hexdigest()[:12],
    )


def _gates(content: str) -> tuple[Gate, ...]:
    return tuple(
        Gate(
            id=fields["id"],
            pattern=fields["pattern"],
            matches=tuple(fields["matches"]),
            misses=tuple(fields["misses"]),
        )
        for fields in tomllib.loads(content)["gate"]
    )


def _patterns(rules: Sequence[Rule], gates: Sequence[Gate]) -> tuple[Pattern, ...]:
    shared: dict[tuple[str, bool], list[Rule]] = {}
    for rule in rules:
        shared.setdefault((rule.pattern, rule.is_case_sensitive), []).append(rule)
    asked = [
        Pattern(text=text, is_case_sensitive=is_case_sensitive, rules=tuple(askers))
        for (text, is_case_sensitive), askers in shared.items()
    ]
    announcing = [
        Pattern(text=gate.pattern, is_case_sensitive=False, gate=gate.id)
        for gate in gates
    ]
    return (*asked, *announcing)


def _parse(content: str) -> list[Rule]:
    table = tomllib.loads(content)
    macros = {name: _joined(text) for name, text in table.get("macros", {}).items()}
    return [_rule(fields, macros) for fields in table.get("rule", ())]


def _rule(fields: dict[str, Any], macros: Mapping[str, str]) -> Rule:
    severity = fields["severity"]
    if severity not in SEVERITIES:
        raise ValueError(f"{fields['id']}: unknown severity {severity}")
    return Rule(
        id=fields["id"],
        family=fields["family"],
        type=fields.get("type", ""),
        severity=severity,
        pattern=_expanded(_joined(fields["pattern"]), macros),
        preceded_by=_context(r"(?:{})\Z", fields.get("preceded_by"), macros),
        followed_by=_context("{}", fields.get("followed_by"), macros),
        validator=fields.get("validator", ""),
        checkpoints=frozenset(fields.get("checkpoints", ())),
        is_case_sensitive=fields.get("is_case_sensitive", False),
        source=fields.get("source", "own"),
        matches=tuple(_unmarked(text) for text in fields["matches"]),
        misses=tuple(_unmarked(text) for text in fields["misses"]),
    )


def _context(
    form: str, pattern: str | None, macros: Mapping[str, str]
) -> re.Pattern[str] | None:
    if pattern is None:
        return None
    text = form.format(_expanded(_joined(pattern), macros))
    return re.compile(text, re.ASCII | re.IGNORECASE)


def _joined(pattern: str) -> str:
    """Return the pattern in one line; indentation and line ends are for reading."""
    if "\n" not in pattern:
        return pattern
    return "".join(line.lstrip() for line in pattern.splitlines())


def _expanded(pattern: str, macros: Mapping[str, str]) -> str:
    # Macros may use those above them, so the last ones are replaced first.
    for name, text in reversed(list(macros.items())):
        pattern = pattern.replace("{{" + name + "}}", f"(?:{text})")
    # Patterns are written as people write and look for what a folded text holds.
    return fold(pattern)


def _unmarked(text: str) -> str:
    for mark, meaning in _MARKS.items():
        text = text.replace(mark, meaning)
    return text
