"""The compiler's last pass: fewer steps and fewer waits, with the same outcome."""

from __future__ import annotations

import json

from planner.candidate import Candidate, Compilation, renamed_step, rewrite_object
from planner.plan import references, step_of


def optimise(work: Compilation) -> None:
    """Drop false dependencies, merge identical steps and put steps in order.

    Expects a plan without violations.
    """
    _drop_false_dependencies(work)
    _put_in_order(work)
    _merge_identical_steps(work)


def _drop_false_dependencies(work: Compilation) -> None:
    for step in work.steps:
        needed = {step_of(path) for path in references(step.input)}
        kept = [
            parent
            for parent in step.depends_on
            # A step with effects may have to come first although nobody reads from it.
            if parent in needed or not _has_no_effect(work, parent)
        ]
        if len(kept) < len(step.depends_on):
            idle = ", ".join(each for each in step.depends_on if each not in kept)
            work.repairs.append(
                f"{step.name}: it uses nothing of {idle}, so it need not wait for it."
            )
        step.depends_on = kept


def _has_no_effect(work: Compilation, step_id: str) -> bool:
    step = work.step(step_id)
    return step is not None and step.is_repeatable


def _put_in_order(work: Compilation) -> None:
    """Sort the steps so that each follows those it depends on, else as drafted."""
    ordered: list[Candidate] = []
    done: set[str] = set()
    waiting = list(work.steps)
    while waiting:
        ready = next(step for step in waiting if done.issuperset(step.depends_on))
        waiting.remove(ready)
        ordered.append(ready)
        done.add(ready.step_id)
    work.steps = ordered


def _merge_identical_steps(work: Compilation) -> None:
    names: dict[str, str] = {}
    kept: dict[str, Candidate] = {}
    for step in work.steps:
        # Steps come in order, so whatever this one refers to was merged before.
        _rename(step, names)
        twin = kept.get(_fingerprint(step)) if step.is_repeatable else None
        if twin is None:
            kept[_fingerprint(step)] = step
            continue
        names[step.step_id] = twin.step_id
        twin.criteria = sorted({*twin.criteria, *step.criteria})
        work.repairs.append(
            f"{step.name} repeats step “{twin.step_id}”; it was merged."
        )
    work.steps = [step for step in work.steps if step.step_id not in names]
    work.result = rewrite_object(work.result, lambda path: renamed_step(path, names))


def _rename(step: Candidate, names: dict[str, str]) -> None:
    if names:
        parents = (names.get(parent, parent) for parent in step.depends_on)
        step.depends_on = list(dict.fromkeys(parents))
        step.input = rewrite_object(step.input, lambda path: renamed_step(path, names))


def _fingerprint(step: Candidate) -> str:
    return json.dumps(
        [step.arm, step.capability, sorted(step.depends_on), step.input],
        sort_keys=True,
    )
