"""Rules about the steps themselves: how many, by which arms, for which wishes.

Every rule reports, none stops. ``rulebook.py`` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from planner.candidate import Candidate, Compilation, clip
from planner.constraints import broken_constraints

MIN_STEPS = 3
MAX_STEPS = 10

# Arms that plans use only for these capabilities: the pipeline adds the judge's step
# itself, and a planner inside a plan would plan without end.
LIMITED_ARMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"planner": frozenset({"batch"}), "judge": frozenset()}
)


def check_structure(work: Compilation) -> None:
    """P001, P002, P003: how many steps, their ids, and no cycle."""
    fewest, most = fewest_steps(work), MAX_STEPS - len(work.kept)
    if not fewest <= len(work.steps) <= most:
        beside = f" new ones beside {len(work.kept)} that stay" if work.finished else ""
        work.refuse(
            "P001",
            f"A plan has {fewest} to {most} steps{beside}; this one has "
            f"{len(work.steps)}.",
        )
    ids = [step.step_id for step in work.steps]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        work.refuse(
            "P002", f"More than one step has the id “{clip(twice)}”; make ids unique."
        )
    in_cycle = steps_in_cycles(work.steps)
    if in_cycle:
        names = ", ".join(map(clip, in_cycle))
        work.refuse("P003", f"Steps {names} depend on each other in a circle; cut it.")


def check_arm(work: Compilation, step: Candidate) -> None:
    """P004, P005, P006, P014, P021: an arm does the step that can and may do it."""
    for name, value in (("arm", step.arm), ("capability", step.capability)):
        if not value:
            refuse_unwritten(work, step, name)
    if step.spec is None:
        if step.arm:
            known = ", ".join(usable_arms(work)) or "none: no arm can be had"
            work.refuse(
                "P004", f"{step.name}: there is no arm “{clip(step.arm)}”; use {known}."
            )
        return
    offered = [each.name for each in step.spec.capabilities]
    allowed = LIMITED_ARMS.get(step.arm)
    if allowed is not None and step.capability not in allowed:
        only = f" except for {', '.join(sorted(allowed))}" if allowed else ""
        work.refuse("P006", f"{step.name}: “{step.arm}” is no arm for steps{only}.")
    elif step.offer is None and step.capability:
        work.refuse(
            "P005",
            f"{step.name}: “{step.arm}” has no capability “{clip(step.capability)}”; "
            f"it has {', '.join(sorted(allowed or offered))}.",
        )
    elif step.arm in work.contract.away:
        _refuse_away(work, step)


def refuse_unwritten(work: Compilation, step: Candidate, name: str) -> None:
    """Record P014 for the step's ``arm`` or ``capability``."""
    work.refuse("P014", f"{step.name}: “{name}” must be a name, written literally.")


def check_criteria(work: Compilation, step: Candidate) -> None:
    """P015: a step serves criteria that exist."""
    total = len(work.contract.acceptance_criteria)
    for index in step.criteria:
        if not 0 <= index < total:
            work.refuse(
                "P015",
                (
                    f"{step.name}: there is no criterion {clip(str(index))}; they are "
                    f"numbered from 0 to {total - 1}."
                    if total
                    else f"{step.name}: there are no criteria to serve."
                ),
            )


def check_wishes(work: Compilation) -> None:
    """P017, P018: constraints that can be computed, and the assigned arm."""
    for sentence in broken_constraints(work):
        work.refuse("P017", sentence)
    wanted = work.contract.assigned_arm
    if wanted is None:
        return
    if wanted not in work.specs:
        work.refuse("P018", f"The assigned arm “{clip(wanted)}” does not exist.")
        return
    # Earlier steps may fetch what the assigned arm works on.
    for step in work.final_steps():
        if step.spec is not None and step.arm != wanted:
            work.refuse(
                "P018",
                f"{step.name}: the work was assigned to “{wanted}”, so the last steps "
                f"must be done by it, not by “{step.arm}”.",
            )


def fewest_steps(work: Compilation) -> int:
    """Return how many steps a plan must have beside those that are kept.

    A model is asked for a decomposition; a recipe or a person may need one step, and
    so may the next version of such a plan.
    """
    fewest = MIN_STEPS if work.source == "model" else 1
    if work.contract.revision is not None:
        fewest = min(fewest, len(work.contract.revision.steps))
    return max(1, fewest - len(work.kept))


def usable_arms(work: Compilation) -> list[str]:
    """Return the names of arms that this plan may use now."""
    return sorted(name for name in work.specs if may_use(work, name))


def may_use(work: Compilation, arm: str) -> bool:
    """Tell whether this plan may use an arm now: well, and within all ceilings."""
    ceilings = [work.policy]
    if work.contract.grants is not None:
        ceilings.append(work.contract.grants)
    return (
        bool(LIMITED_ARMS.get(arm, True))
        and arm not in work.contract.away
        and all(ceiling.allows("arms", arm) for ceiling in ceilings)
    )


def steps_in_cycles(steps: Iterable[Candidate]) -> list[str]:
    """Return the ids of steps that wait for each other, in draft order."""
    parents_of = {step.step_id: step.depends_on for step in steps}
    # Finished steps keep nobody waiting.
    waiting = {
        step_id: parents_of.keys() & set(parents)
        for step_id, parents in parents_of.items()
    }
    while ready := [each for each, parents in waiting.items() if not parents]:
        for done in ready:
            del waiting[done]
        for parents in waiting.values():
            parents.difference_update(ready)
    return list(waiting)


def _refuse_away(work: Compilation, step: Candidate) -> None:
    others = [
        name
        for name in usable_arms(work)
        if work.specs[name].capability(step.capability) is not None
    ]
    instead = (
        f"use {' or '.join(others)}, which also has “{step.capability}”"
        if others
        else f"no other arm has “{step.capability}”, so plan without it or try later"
    )
    reason = clip(work.contract.away[step.arm], 120)
    why = f" ({reason})" if reason else ""
    work.refuse("P021", f"{step.name}: arm “{step.arm}” is away now{why}; {instead}.")
