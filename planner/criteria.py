"""Which step serves which acceptance criterion, when the draft does not say."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

from planner.candidate import Candidate, Compilation
from planner.words import root

# Every capability has these, so their names say nothing about a criterion.
_COMMON_KEYS = frozenset({"method", "items", "text", "count", "texts"})
_ABOUT_THE_RESULT = re.compile(
    r"\b(?:pii|personal data|personal information|outputs?|results?|answers?|report"
    r"|response|json|within budget|cost|seconds|minutes)\b",
    re.IGNORECASE,
)
_WORD = re.compile(r"[a-z0-9]+")


def serve_criteria(work: Compilation) -> tuple[tuple[int, str], ...]:
    """Assign criteria that no step claims; return those that none serves, with why.

    A criterion that names an output belongs to the last step that gives it, one that
    names a capability ("every review is classified") to the last that has it, and one
    about the result as a whole to the last steps.
    """
    unserved = []
    claimed = {index for step in (*work.kept, *work.steps) for index in step.criteria}
    for index, criterion in enumerate(work.contract.acceptance_criteria):
        if index in claimed:
            continue
        servers = _servers(work, criterion)
        for step in servers:
            step.criteria.append(index)
        if not servers:
            unserved.append(
                (index, "No step gives what it speaks of; it is judged by the result.")
            )
    return tuple(unserved)


def _servers(work: Compilation, criterion: str) -> list[Candidate]:
    found = _roots(criterion)
    ranked = [(_match(step, found), place) for place, step in enumerate(work.steps)]
    best, place = max(ranked, default=((0, 0), 0))
    if any(best):
        return [work.steps[place]]
    return work.final_steps() if _ABOUT_THE_RESULT.search(criterion) else []


def _match(step: Candidate, found: frozenset[str]) -> tuple[int, int]:
    """Return how many words the best-named output and the capability share with it.

    A name counts only if the criterion has all of its words.
    """
    if step.offer is None:
        return 0, 0
    outputs = step.offer.output_schema.get("properties")
    keys = set(outputs) - _COMMON_KEYS if isinstance(outputs, dict) else set()
    names = (step.offer.name, *step.offer.synonyms)
    return _best(keys, found), _best(names, found)


def _best(names: Iterable[str], found: frozenset[str]) -> int:
    parts = map(_roots, names)
    return max((len(part) for part in parts if part and part <= found), default=0)


@lru_cache(maxsize=4096)
def _roots(text: str) -> frozenset[str]:
    return frozenset(map(root, _WORD.findall(text.lower().replace("_", " "))))
