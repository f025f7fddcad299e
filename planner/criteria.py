"""Which step serves which acceptance criterion, when the draft does not say."""

from __future__ import annotations

import re

from planner.candidate import Candidate, Compilation

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

    A criterion that names an output belongs to the last step that gives it; one
    about the result as a whole to the last steps.
    """
    unserved = []
    claimed = {index for step in work.steps for index in step.criteria}
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
    words = set(_WORD.findall(criterion.lower()))
    ranked = [(_match(step, words), place) for place, step in enumerate(work.steps)]
    best, place = max(ranked, default=(0, 0))
    if best:
        return [work.steps[place]]
    return work.final_steps() if _ABOUT_THE_RESULT.search(criterion) else []


def _match(step: Candidate, words: set[str]) -> int:
    """Return how many words of the best-named output the criterion has, 0 for none."""
    outputs = step.offer.output_schema.get("properties") if step.offer else None
    keys = set(outputs) - _COMMON_KEYS if isinstance(outputs, dict) else set()
    names = [set(_WORD.findall(key.lower().replace("_", " "))) for key in keys]
    return max((len(name) for name in names if name and name <= words), default=0)
