"""Three engines for one rule table: hyperscan, RE2, and ``re`` as the last resort.

All work on UTF-8 bytes and report byte offsets. What they must agree on: every
match of a rule that has a validator, overlapping ones too; of the other rules at
least the leftmost-longest matches that do not overlap.
"""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

from django.conf import settings

from octollm.errors import ScreeningUnavailableError
from reflex.rules import Rule, load_rules

# (position of the rule in the table, start, end), offsets in bytes.
Hit = tuple[int, int, int]
NAMES = ("hyperscan", "re2", "re")


class Engine(Protocol):
    """Something that finds the matches of all rules in one go."""

    name: str

    def scan(self, content: bytes) -> list[Hit]:
        """Return the matches; safe to call from several threads."""
        ...


class HyperscanEngine:
    """One pass over the text for all rules, whatever their number."""

    name = "hyperscan"

    def __init__(self, rules: Sequence[Rule]) -> None:
        """Compile the database; about 100 ms."""
        self._library: Any = importlib.import_module("hyperscan")
        self._database = self._library.Database()
        self._scratch = threading.local()
        flag = self._library.HS_FLAG_SOM_LEFTMOST
        caseless = flag | self._library.HS_FLAG_CASELESS
        self._database.compile(
            expressions=[rule.pattern.encode() for rule in rules],
            ids=list(range(len(rules))),
            elements=len(rules),
            flags=[flag if rule.is_case_sensitive else caseless for rule in rules],
        )

    def scan(self, content: bytes) -> list[Hit]:
        """Return the longest match per rule and start."""
        hits: list[tuple[int, int, int]] = []
        try:
            self._database.scan(
                content,
                match_event_handler=_collect,
                context=hits,
                scratch=self._own_scratch(),
            )
        except self._library.error as error:
            raise ScreeningUnavailableError(f"hyperscan: {error}") from error
        # Every end is reported; of one start the longest counts.
        longest = {(rule, start): end for rule, start, end in sorted(hits)}
        return [(rule, start, end) for (rule, start), end in longest.items()]

    def _own_scratch(self) -> Any:
        # A scratch may serve one scan at a time, so each thread has its own.
        try:
            return self._scratch.value
        except AttributeError:
            self._scratch.value = self._library.Scratch(self._database)
            return self._scratch.value


def _collect(rule: int, start: int, end: int, _flags: int, hits: list[Hit]) -> None:
    hits.append((rule, start, end))


class LoopEngine:
    """One compiled expression after the other, by any library that searches."""

    def __init__(self, name: str, rules: Sequence[Rule]) -> None:
        """Compile all rules with the library of that name."""
        self.name = name
        compile_rule = _compile_re2 if name == "re2" else _compile_re
        self._searches: list[tuple[Callable[..., Any], bool]] = [
            (compile_rule(rule).search, bool(rule.validator)) for rule in rules
        ]

    def scan(self, content: bytes) -> list[Hit]:
        """Return the matches, rule by rule."""
        hits: list[Hit] = []
        for index, (search, may_overlap) in enumerate(self._searches):
            position = 0
            while match := search(content, position):
                start, end = match.span()
                hits.append((index, start, end))
                position = start + 1 if may_overlap else end
        return hits


def _compile_re2(rule: Rule) -> Any:
    library: Any = importlib.import_module("re2")
    options = library.Options()
    options.encoding = library.Options.Encoding.LATIN1
    options.case_sensitive = rule.is_case_sensitive
    options.longest_match = True
    options.never_capture = True
    options.log_errors = False
    return library.compile(rule.pattern.encode(), options)


def _compile_re(rule: Rule) -> re.Pattern[bytes]:
    flags = 0 if rule.is_case_sensitive else re.IGNORECASE
    return re.compile(rule.pattern.encode(), flags)


def build_engine(name: str, rules: Sequence[Rule]) -> Engine:
    """Return the engine of that name over these rules.

    Raises:
        ScreeningUnavailableError: its library is missing or refuses a rule.
    """
    try:
        return (
            HyperscanEngine(rules) if name == "hyperscan" else LoopEngine(name, rules)
        )
    # The libraries' own errors derive from nothing but Exception, and importing
    # them may fail in ways of its own.
    except Exception as error:
        raise ScreeningUnavailableError(f"{name}: {error}") from error


_lock = threading.Lock()


def engine() -> Engine:
    """Return this process's engine, built at the first call.

    Raises:
        ScreeningUnavailableError: no engine can be built.
    """
    with _lock:
        return _chosen(settings.OCTOLLM_REFLEX_ENGINE)


@cache
def _chosen(wish: str) -> Engine:
    if wish != "auto" and wish not in NAMES:
        raise ScreeningUnavailableError(f"OCTOLLM_REFLEX_ENGINE: no engine {wish!r}.")
    rules = load_rules().rules
    failures: list[str] = []
    for name in NAMES if wish == "auto" else (wish,):
        try:
            return build_engine(name, rules)
        except ScreeningUnavailableError as error:
            failures.append(error.message)
    raise ScreeningUnavailableError("; ".join(failures))
