"""Constraints that a plan alone can break: what they ban, and which arms they allow.

All others ("No PII", "formal tone") speak of the result; the judge checks those.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from arms.contract import ArmSpec
from planner.candidate import Candidate, Compilation, clip, plain
from planner.constraint_words import Reading, read

# Capabilities that break a ban even if their arm's entry does not say what they use.
_CAPABILITIES: Mapping[str, frozenset[str]] = {
    "network": frozenset({"http", "mcp", "web_search"}),
    "code": frozenset({"shell", "python", "test"}),
    "tools": frozenset({"shell", "python", "http", "mcp"}),
}


def forbids_model(constraints: Iterable[str]) -> bool:
    """Tell whether no model may be asked: then recipes have to plan."""
    return any("model" in read(constraint).bans for constraint in constraints)


def broken_constraints(work: Compilation) -> Iterator[str]:
    """Yield one sentence per constraint that the steps break, and per step."""
    for constraint in work.contract.constraints:
        reading = read(constraint)
        if reading == Reading():
            continue
        quoted = clip(constraint, 80)
        for step in work.steps:
            forbidden = _forbidden(work, reading, step)
            if forbidden:
                yield f"{step.name}: the constraint “{quoted}” forbids {forbidden}."
        count = len(work.steps) + len(work.kept)
        if reading.max_steps is not None and count > reading.max_steps:
            yield (
                f"The constraint “{quoted}” allows {reading.max_steps} steps; "
                f"there are {count}. Use fewer."
            )


def allows_arm(work: Compilation, arm: str) -> bool:
    """Tell whether no constraint rules an arm out, by its name or by another's."""
    readings = map(read, work.contract.constraints)
    return not any(_forbids_arm(work, reading, arm) for reading in readings)


def _forbidden(work: Compilation, reading: Reading, step: Candidate) -> str:
    """Return what of a step is forbidden, quoted; nothing if it may stay."""
    if step.spec is not None and _forbids_arm(work, reading, step.arm):
        return f"arm “{step.arm}”"
    uses = step.offer.uses if step.offer is not None else ()
    is_banned = any(
        ban in uses or step.capability in _CAPABILITIES.get(ban, ())
        for ban in reading.bans
    )
    if is_banned or step.capability in _capabilities_named(work, reading.unused):
        return f"“{step.capability}”"
    return ""


def _forbids_arm(work: Compilation, reading: Reading, arm: str) -> bool:
    only = _arms_named(work, reading.only)
    return (bool(only) and arm not in only) or arm in _arms_named(work, reading.without)


def _arms_named(work: Compilation, words: Sequence[str]) -> Sequence[str]:
    """Return the arms that the words name; none unless every word names one."""
    found = [_arm_called(work, word) for word in words]
    return [arm for arm in found if arm] if all(found) else []


def _arm_called(work: Compilation, word: str) -> str:
    return next((s.name for s in work.specs.values() if _is_called(s, word)), "")


def _is_called(spec: ArmSpec, word: str) -> bool:
    return plain(word) in map(plain, (spec.name, *spec.synonyms))


def _capabilities_named(work: Compilation, words: Sequence[str]) -> Sequence[str]:
    if not words:
        return ()
    known = {c.name for spec in work.specs.values() for c in spec.capabilities}
    return words if known.issuperset(words) else ()
