"""Whether a plan holds text or numbers of the context instead of referring to them.

Such a plan serves its own request and is not kept for others. When in doubt it
counts as quoting: the price is a question to the model.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from typing import TypeAlias

from octollm.types import JSONValue
from planner.plan import PlanningContract, reference_path

# So many words in a row are a quotation whatever stands around them.
RUN = 5
# Shorter words and numbers are in every text by chance.
TELLING = 4

Words: TypeAlias = tuple[str, ...]

# Scripts that put no space between words: each letter counts as one.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


def quotes_context(written: JSONValue, contract: PlanningContract) -> bool:
    """Tell whether ``written`` carries a value of the context.

    A value is carried when it equals a text or number that is written, when one
    holds the other as whole words, or when both have five words in a row in common.
    What the goal, the constraints, the criteria or the keys of the context say as
    well is not the context's alone.

    Args:
        written: everything that a plan says; references in it are passed over.
        contract: what the plan was made for.
    """
    said = _Said(map(_read, _written(written)))
    free = _runs_of(map(_read, _said_besides(contract)))
    return any(
        not free.issuperset(_pieces(shared))
        for value in _values(contract.context)
        for shared in said.shared_with(_read(value), is_small=_is_small(value))
    )


class _Said:
    """The words of a plan, ready to be compared with many texts."""

    def __init__(self, texts: Iterable[Words]) -> None:
        self._texts = frozenset(texts) - {()}
        self._runs = _runs_of(self._texts)
        self._short = {text for text in self._texts if len(text) < RUN}
        self._lengths = {len(text) for text in self._short}

    def shared_with(self, text: Words, *, is_small: bool) -> Iterator[Words]:
        """Yield what the plan and ``text``, a value of the context, both say."""
        if text in self._texts and not is_small:
            yield text
        if len(text) < RUN:
            shared = self._runs & {text}
        else:
            shared = self._runs.intersection(_runs(text, RUN))
        for length in self._lengths:
            shared |= self._short.intersection(_runs(text, length))
        yield from filter(_is_telling, shared)


def _runs_of(texts: Iterable[Words]) -> set[Words]:
    """Return all runs of one to five words."""
    return {run for text in texts for n in range(1, RUN + 1) for run in _runs(text, n)}


def _runs(text: Words, length: int) -> Iterable[Words]:
    return zip(*(text[start:] for start in range(length)), strict=False)


def _pieces(text: Words) -> Iterable[Words]:
    return (text,) if len(text) < RUN else _runs(text, RUN)


def _read(text: str) -> Words:
    plain = unicodedata.normalize("NFKC", text).casefold().strip()
    # What has no words, such as a lone sign, stands for itself.
    return tuple(_WORD.findall(plain)) or ((plain,) if plain else ())


def _is_telling(run: Words) -> bool:
    return sum(map(len, run)) >= TELLING or not all(map(str.isascii, run))


def _is_small(value: str) -> bool:
    """Tell whether a value is a number that any plan may hold, such as 5 or 0.5."""
    return len(value) < TELLING and value.replace(".", "").strip("-").isdecimal()


def _written(plan: JSONValue) -> Iterator[str]:
    """Yield the texts, numbers and keys in what a plan says, but for references."""
    for each in _walk(plan, has_references=True):
        yield from each if isinstance(each, dict) else _scalar(each)


def _values(context: JSONValue) -> Iterator[str]:
    """Yield the texts and numbers in the context."""
    for each in _walk(context):
        yield from _scalar(each)


def _said_besides(contract: PlanningContract) -> Iterator[str]:
    """Yield what a request says apart from the values in its context."""
    yield contract.goal
    yield from contract.constraints
    yield from contract.acceptance_criteria
    for each in _walk(contract.context):
        yield from each if isinstance(each, dict) else ()


def _walk(value: JSONValue, *, has_references: bool = False) -> Iterator[JSONValue]:
    """Yield a value and all that is inside, but for references where there are any."""
    pending = [value]
    while pending:
        each = pending.pop()
        if has_references and reference_path(each) is not None:
            continue
        yield each
        if isinstance(each, dict):
            pending += each.values()
        elif isinstance(each, list):
            pending += each


def _scalar(value: JSONValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield str(value)
