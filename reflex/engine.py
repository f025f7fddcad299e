"""Three engines for one rule table: hyperscan, RE2, and ``re`` as the last resort.

All work on UTF-8 bytes and report byte offsets: of each pattern the longest match
from every place where one starts, overlapping ones too.
"""

from __future__ import annotations

import hashlib
import importlib
import re
import threading
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, Protocol

from django.conf import settings

from octollm.errors import ScreeningUnavailableError
from reflex import compiled
from reflex.rules import Pattern, load_rules

# (position of the pattern in the table, start, end), offsets in bytes.
Hit = tuple[int, int, int]
NAMES = ("hyperscan", "re2", "re")


class Engine(Protocol):
    """Something that finds the matches of all patterns in one go."""

    name: str

    def scan(self, content: bytes) -> list[Hit]:
        """Return the matches; safe to call from several threads."""
        ...


class HyperscanEngine:
    """One pass over the text for all patterns of a kind, whatever their number."""

    name = "hyperscan"

    def __init__(self, patterns: Sequence[Pattern]) -> None:
        """Compile the databases; a fraction of a second."""
        self._library: Any = importlib.import_module("hyperscan")
        self._own = threading.local()
        # Compiling takes more than linear time: two databases are built in half
        # the time of one, and a second scan costs about a microsecond.
        kinds: tuple[list[int], list[int]] = ([], [])
        for index, pattern in enumerate(patterns):
            is_value = bool(pattern.rules) and pattern.rules[0].is_value
            kinds[is_value].append(index)
        self._databases = [self._database(patterns, kind) for kind in kinds if kind]

    def scan(self, content: bytes) -> list[Hit]:
        """Return the longest match per pattern and start."""
        hits: list[Hit] = []
        try:
            for database, scratch in self._with_scratches():
                database.scan(
                    content,
                    match_event_handler=_collect,
                    context=hits,
                    scratch=scratch,
                )
        except self._library.error as error:
            raise ScreeningUnavailableError(f"hyperscan: {error}") from error
        # Every end is reported; of one start the longest counts.
        longest = {(pattern, start): end for pattern, start, end in sorted(hits)}
        return [(pattern, start, end) for (pattern, start), end in longest.items()]

    def _database(self, patterns: Sequence[Pattern], indexes: Sequence[int]) -> Any:
        name = self._name(patterns, indexes)
        content = compiled.kept(name, lambda: self._compiled(patterns, indexes))
        try:
            return self._library.loadb(content, self._library.HS_MODE_BLOCK)
        except self._library.error:
            # Made by another release or for another processor.
            compiled.discard(name)
            content = compiled.kept(name, lambda: self._compiled(patterns, indexes))
            return self._library.loadb(content, self._library.HS_MODE_BLOCK)

    def _name(self, patterns: Sequence[Pattern], indexes: Sequence[int]) -> str:
        """Return what names a database: all that it is made of."""
        digest = hashlib.sha256(self._library.__version__.encode())
        for index in indexes:
            flags = self._flags(patterns[index])
            digest.update(f"\x00{index}\x00{flags}\x00{patterns[index].text}".encode())
        return digest.hexdigest()[:32]

    def _compiled(self, patterns: Sequence[Pattern], indexes: Sequence[int]) -> bytes:
        chosen = [patterns[index] for index in indexes]
        database = self._library.Database()
        database.compile(
            expressions=[pattern.text.encode() for pattern in chosen],
            ids=list(indexes),
            elements=len(chosen),
            flags=[self._flags(pattern) for pattern in chosen],
        )
        content: bytes = self._library.dumpb(database)
        return content

    def _flags(self, pattern: Pattern) -> int:
        # Of a gate one end is enough, wherever it starts.
        flags: int = (
            self._library.HS_FLAG_SINGLEMATCH
            if pattern.gate
            else self._library.HS_FLAG_SOM_LEFTMOST
        )
        if not pattern.is_case_sensitive:
            flags |= self._library.HS_FLAG_CASELESS
        return flags

    def _with_scratches(self) -> list[tuple[Any, Any]]:
        # A scratch may serve one scan at a time, so each thread has its own.
        try:
            pairs: list[tuple[Any, Any]] = self._own.pairs
        except AttributeError:
            scratches = map(self._library.Scratch, self._databases)
            pairs = self._own.pairs = list(zip(self._databases, scratches, strict=True))
        return pairs


def _collect(pattern: int, start: int, end: int, _flags: int, hits: list[Hit]) -> None:
    hits.append((pattern, start, end))


class LoopEngine:
    """One compiled expression after the other, by any library that searches."""

    def __init__(self, name: str, patterns: Sequence[Pattern]) -> None:
        """Compile all patterns with the library of that name."""
        self.name = name
        compiled = _compile_re2 if name == "re2" else _compile_re
        self._searches: list[tuple[Callable[..., Any], bool]] = [
            (compiled(pattern).search, bool(pattern.gate)) for pattern in patterns
        ]

    def scan(self, content: bytes) -> list[Hit]:
        """Return the matches, pattern by pattern."""
        hits: list[Hit] = []
        for index, (search, is_gate) in enumerate(self._searches):
            position = 0
            while match := search(content, position):
                start, end = match.span()
                hits.append((index, start, end))
                if is_gate:
                    break
                position = start + 1
        return hits


def _compile_re2(pattern: Pattern) -> Any:
    library: Any = importlib.import_module("re2")
    options = library.Options()
    options.encoding = library.Options.Encoding.LATIN1
    options.case_sensitive = pattern.is_case_sensitive
    options.longest_match = True
    options.never_capture = True
    options.log_errors = False
    return library.compile(pattern.text.encode(), options)


def _compile_re(pattern: Pattern) -> re.Pattern[bytes]:
    flags = 0 if pattern.is_case_sensitive else re.IGNORECASE
    return re.compile(pattern.text.encode(), flags)


def build_engine(name: str, patterns: Sequence[Pattern]) -> Engine:
    """Return the engine of that name over these patterns.

    Raises:
        ScreeningUnavailableError: its library is missing or refuses a pattern.
    """
    try:
        return (
            HyperscanEngine(patterns)
            if name == "hyperscan"
            else LoopEngine(name, patterns)
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
    patterns = load_rules().patterns
    failures: list[str] = []
    for name in NAMES if wish == "auto" else (wish,):
        try:
            return build_engine(name, patterns)
        except ScreeningUnavailableError as error:
            failures.append(error.message)
    raise ScreeningUnavailableError("; ".join(failures))
