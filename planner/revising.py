"""What the compiler does beside the rest for a later version of a plan.

A version is made of finished steps, which stay and do not run again, and of new ones.
Whoever plans lists the new ones and may refer to finished ones by their ids. A
finished step stays unless its output was replaced, or what that came from was; one
that a new step builds on stays in any case.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from planner.candidate import Candidate, Compilation, renamed_step, rewrite_object
from planner.plan import references, step_of
from planner.revision import EarlierStep
from planner.signatures import Signatures


def take_finished(work: Compilation, *, replaces: Sequence[str]) -> None:
    """Let new steps refer to finished ones."""
    revision = work.contract.revision
    if revision is None:
        return
    work.finished = [_finished(work, step) for step in revision.steps if step.is_done]
    work.replaced = {step.step_id for step in work.finished} & set(replaces)


def settle_ids(work: Compilation) -> None:
    """R013, R014: a step under the id of a finished one is that one or replaces it."""
    finished = {step.step_id for step in work.finished}
    before, now = _signatures(work)
    is_same = {
        step_id: before.of(step_id) == now.of(step_id)
        for step_id in finished & {step.step_id for step in work.steps}
        if step_id not in work.replaced
    }
    for step_id, is_kept in sorted(is_same.items()):
        if is_kept:
            work.note("R013", f"step “{step_id}” is done already, so it is kept.")
        else:
            work.note("R014", f"step “{step_id}” was changed; it replaces the old one.")
    work.replaced |= {step_id for step_id, is_kept in is_same.items() if not is_kept}
    work.steps = [step for step in work.steps if not is_same.get(step.step_id)]


def choose_kept(work: Compilation) -> None:
    """Find which finished steps stay."""
    new = {step.step_id for step in work.steps}
    work.replaced = set(_with_dependants(work.finished, work.replaced))
    used = {each for step in work.steps for each in step.depends_on} - new
    wanted = set(_with_ancestors(work.finished, used))
    work.kept = [
        step
        for step in work.finished
        if step.step_id not in work.replaced or step.step_id in wanted
    ]


def check_repeats(work: Compilation) -> None:
    """P025: no new step does what a finished one did."""
    if not work.finished:
        return
    before, now = _signatures(work)
    done = {before.of(step.step_id): step for step in work.finished}
    for step in work.steps:
        twin = done.get(now.of(step.step_id))
        if twin is not None:
            work.refuse(
                "P025",
                f"{step.name}: step “{twin.step_id}” has done the same with the same "
                "input; use its output, or do something else.",
            )


def name_steps(work: Compilation) -> None:
    """Give new steps ids that no step of the task has: “v2-1”."""
    revision = work.contract.revision
    if revision is None:
        return
    fresh = fresh_ids(f"v{revision.version}-", taken=revision.taken)
    names = {step.step_id: next(fresh) for step in work.steps}
    for step in work.steps:
        step.step_id = names[step.step_id]
        step.depends_on = [names.get(parent, parent) for parent in step.depends_on]
        step.input = rewrite_object(step.input, lambda path: renamed_step(path, names))
    work.result = rewrite_object(work.result, lambda path: renamed_step(path, names))


def is_result_kept(work: Compilation) -> bool:
    """Tell whether what stays fills the result before what is new does.

    It does where whoever planned said what is replaced, or where steps failed and
    nothing else is wanting. Otherwise what is new is meant to be better.
    """
    revision = work.contract.revision
    return bool(work.replaced) or (revision is not None and not revision.unmet)


def carry_result(work: Compilation) -> None:
    """Let what stays fill the result as before, where nothing has filled it yet."""
    revision = work.contract.revision
    if revision is None:
        return
    stays = {step.step_id for step in work.kept} - work.replaced
    for key, value in revision.result.items():
        sources = {step_of(path) for path in references(value)}
        if sources and sources <= stays:
            work.result.setdefault(key, value)


def fresh_ids(prefix: str, *, taken: Collection[str]) -> Iterator[str]:
    """Yield ids that are free, numbered from 1."""
    number = 0
    while True:
        number += 1
        if f"{prefix}{number}" not in taken:
            yield f"{prefix}{number}"


def _finished(work: Compilation, step: EarlierStep) -> Candidate:
    spec = work.specs.get(step.arm)
    return Candidate(
        step_id=step.step_id,
        description=step.description,
        arm=step.arm,
        capability=step.capability,
        depends_on=list(step.depends_on),
        input=step.input,
        criteria=list(step.criteria),
        spec=spec,
        offer=spec.capability(step.capability) if spec is not None else None,
    )


def _signatures(work: Compilation) -> tuple[Signatures, Signatures]:
    """Return those of finished steps, and those with an id's new meaning."""
    specs = list(work.specs.values())
    return (
        Signatures(work.finished, specs),
        Signatures([*work.finished, *work.steps], specs),
    )


def _with_dependants(steps: Sequence[Candidate], ids: Collection[str]) -> set[str]:
    """Return ids with those of all that was made from them."""
    found = set(ids)
    while more := {
        step.step_id
        for step in steps
        if step.step_id not in found and found.intersection(step.depends_on)
    }:
        found |= more
    return found


def _with_ancestors(steps: Sequence[Candidate], ids: Collection[str]) -> set[str]:
    """Return ids with those of all that they were made from."""
    parents = {step.step_id: step.depends_on for step in steps}
    found: set[str] = set()
    waiting = list(ids)
    while waiting:
        step_id = waiting.pop()
        if step_id in parents and step_id not in found:
            found.add(step_id)
            waiting += parents[step_id]
    return found
