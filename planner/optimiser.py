"""The compiler's last pass: less money, fewer steps, fewer waits, the same outcome.

No step is dropped because nobody uses its output: a result shows the outputs of all
steps, and criteria are judged by them, so none is without use.
"""

from __future__ import annotations

import json

from arms.contract import ArmSpec, Capability
from planner.candidate import Candidate, Compilation, renamed_step, rewrite_object
from planner.plan import references, step_of
from planner.substitutes import substitutes, take


def optimise(work: Compilation) -> None:
    """Take cheaper arms, drop false dependencies, merge identical steps, put in order.

    Expects a plan without violations.
    """
    for step in work.steps:
        _take_cheapest_arm(work, step)
    _drop_false_dependencies(work)
    _put_in_order(work)
    _merge_identical_steps(work)


def _take_cheapest_arm(work: Compilation, step: Candidate) -> None:
    """R012: of arms that do the same take the cheapest, of those the fastest."""
    found = substitutes(work, step)
    if not found or step.offer is None:
        return
    spec, offer = min(found, key=lambda each: _price(work, each[0], each[1]))
    own, other = work.estimate(step), work.estimate_of(spec.name, offer)
    if (other.cost_usd, other.seconds) >= (own.cost_usd, own.seconds):
        return
    work.note(
        "R012",
        f"{step.name}: “{spec.name}” does “{offer.name}” for {other.cost_usd} USD in "
        f"{other.seconds:g} s, “{step.arm}” for {own.cost_usd} USD in "
        f"{own.seconds:g} s; the cheaper was taken.",
    )
    take(step, spec, offer)


def _price(
    work: Compilation, spec: ArmSpec, offer: Capability
) -> tuple[object, object, str]:
    expected = work.estimate_of(spec.name, offer)
    return expected.cost_usd, expected.seconds, spec.name


def _drop_false_dependencies(work: Compilation) -> None:
    """R009: nobody waits for a step without effect whose output it does not use."""
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
            work.note(
                "R009",
                f"{step.name}: it uses nothing of {idle}, so it need not wait for it.",
            )
        step.depends_on = kept


def _has_no_effect(work: Compilation, step_id: str) -> bool:
    step = work.step(step_id)
    return step is not None and step.is_repeatable


def _put_in_order(work: Compilation) -> None:
    """Sort the steps so that each follows those it depends on, else as drafted."""
    ordered: list[Candidate] = []
    done = {step.step_id for step in work.finished}
    done -= {step.step_id for step in work.steps}
    waiting = list(work.steps)
    while waiting:
        ready = next(step for step in waiting if done.issuperset(step.depends_on))
        waiting.remove(ready)
        ordered.append(ready)
        done.add(ready.step_id)
    work.steps = ordered


def _merge_identical_steps(work: Compilation) -> None:
    """R010: do once what gives the same twice."""
    names: dict[str, str] = {}
    kept: dict[str, Candidate] = {}
    for step in work.steps:
        # Steps come in order, so whatever this one refers to was merged before.
        _rename(step, names)
        mark = _fingerprint(step)
        twin = kept.get(mark) if step.is_repeatable else None
        if twin is None:
            kept[mark] = step
            continue
        names[step.step_id] = twin.step_id
        twin.criteria = sorted({*twin.criteria, *step.criteria})
        work.note("R010", f"{step.name} repeats step “{twin.step_id}”; it was merged.")
    work.steps = [step for step in work.steps if step.step_id not in names]
    work.result = rewrite_object(work.result, lambda path: renamed_step(path, names))


def _rename(step: Candidate, names: dict[str, str]) -> None:
    if names:
        parents = (names.get(parent, parent) for parent in step.depends_on)
        step.depends_on = list(dict.fromkeys(parents))
        step.input = rewrite_object(step.input, lambda path: renamed_step(path, names))


def _fingerprint(step: Candidate) -> str:
    # A model also reads what a step is for; an algorithm reads its input only.
    uses_model = step.offer is not None and "model" in step.offer.uses
    return json.dumps(
        [
            step.arm,
            step.capability,
            sorted(step.depends_on),
            step.input,
            step.description if uses_model else "",
        ],
        sort_keys=True,
    )
