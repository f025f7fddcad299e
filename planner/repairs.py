"""What the compiler mends by itself, because only one meaning is possible.

Each function changes the steps and records what it did in one sentence that starts
with the repair's id; ``rulebook.py`` lists them all.
"""

from __future__ import annotations

import re

from arms.contract import ArmSpec, Capability
from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.candidate import (
    Candidate,
    Compilation,
    clip,
    plain,
    renamed_step,
    rewrite_object,
)
from planner.plan import look_up, reference, reference_path, references, step_of
from planner.revising import choose_kept, fresh_ids, settle_ids
from planner.rules import LIMITED_ARMS, fewest_steps
from planner.substitutes import substitutes, take

_GOOD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# The task's own steps have such ids beside the plan's: "plan-2", "judge-2".
_RESERVED_ID = re.compile(r"(?:plan|judge)(?:-.*)?")
# "steps.1.texts", "{{ context.reviews }}", "${steps.1.count}": meant as references.
_WRITTEN_REFERENCE = re.compile(
    r"\$?\{{0,2} ?((?:steps|context)\.[\w-]+(?:\.[\w-]+)*) ?\}{0,2}"
)


def mend(work: Compilation) -> None:
    """Apply every repair, in an order in which none undoes another."""
    _merge_repeated_ids(work)
    _rename_odd_ids(work)
    for step in work.steps:
        _find_in_catalogue(work, step)
    for step in work.steps:
        step.input = {
            key: _read_written(work, step, value) for key, value in step.input.items()
        }
    settle_ids(work)
    for step in work.steps:
        _drop_unknown_dependencies(work, step)
        _add_implied_dependencies(work, step)
    choose_kept(work)
    for step in work.steps:
        if step.arm in work.contract.away:
            _replace_arm_away(work, step)


def _merge_repeated_ids(work: Compilation) -> None:
    """R002: take a step that was written twice, word for word, for one.

    Twice the same act on the world may be meant, so only steps without effect merge;
    where a step would be missing then, another one was meant.
    """
    kept: list[Candidate] = []
    repeated: list[tuple[Candidate, Candidate]] = []
    for step in work.steps:
        twin = next((each for each in kept if _is_same(each, step)), None)
        spec = _arm_called(work, step.arm)
        if twin is None or spec is None or not spec.is_repeatable:
            kept.append(step)
        else:
            repeated.append((step, twin))
    if len(kept) < fewest_steps(work):
        return
    work.steps = kept
    for step, twin in repeated:
        twin.criteria = sorted({*twin.criteria, *step.criteria})
        work.note("R002", f"{step.name} was written twice; one was taken.")


def _is_same(one: Candidate, other: Candidate) -> bool:
    return (
        one.step_id == other.step_id
        and (one.arm, one.capability) == (other.arm, other.capability)
        and one.description == other.description
        and set(one.depends_on) == set(other.depends_on)
        and one.input == other.input
    )


def _rename_odd_ids(work: Compilation) -> None:
    """R001: number the steps when ids cannot be written in a path, or are taken.

    In a later version a number may mean a finished step, so good ids stay.
    """
    ids = [step.step_id for step in work.steps]
    if len(set(ids)) < len(ids) or all(map(_is_good, ids)):
        return
    names = {old: str(number) for number, old in enumerate(ids, start=1)}
    if work.contract.revision is not None:
        fresh = fresh_ids("n", taken={*ids, *(each.step_id for each in work.finished)})
        names = {old: old if _is_good(old) else next(fresh) for old in ids}
    for step in work.steps:
        step.step_id = names[step.step_id]
        step.depends_on = [names.get(parent, parent) for parent in step.depends_on]
        step.input = rewrite_object(step.input, lambda path: renamed_step(path, names))
    work.result = rewrite_object(work.result, lambda path: renamed_step(path, names))
    work.note("R001", "Step ids were odd or reserved, so the steps were numbered.")


def _is_good(step_id: str) -> bool:
    is_reserved = _RESERVED_ID.fullmatch(step_id) is not None
    return not is_reserved and _GOOD_ID.fullmatch(step_id) is not None


def _find_in_catalogue(work: Compilation, step: Candidate) -> None:
    """R003 to R005: find the arm and the capability that the names mean."""
    spec = _arm_called(work, step.arm)
    if spec is None:
        _read_capability_as_arm(work, step)
        return
    if spec.name != step.arm:
        work.note(
            "R003", f"{step.name}: arm “{clip(step.arm)}” was read as “{spec.name}”."
        )
    step.arm, step.spec = spec.name, spec
    step.offer = spec.capability(step.capability) or _offer_called(
        spec, step.capability
    )
    if step.offer is not None and step.offer.name != step.capability:
        work.note(
            "R004",
            f"{step.name}: capability “{clip(step.capability)}” was read as "
            f"“{step.offer.name}”.",
        )
        step.capability = step.offer.name


def _arm_called(work: Compilation, name: str) -> ArmSpec | None:
    if name in work.specs:
        return work.specs[name]
    wanted = plain(name)
    return next(
        (
            spec
            for names in (_own_name, _synonyms)
            for spec in work.specs.values()
            if wanted in names(spec)
        ),
        None,
    )


def _own_name(spec: ArmSpec) -> list[str]:
    return [plain(spec.name)]


def _synonyms(spec: ArmSpec) -> list[str]:
    return list(map(plain, spec.synonyms))


def _offer_called(spec: ArmSpec, name: str) -> Capability | None:
    """Return the one capability of that name, however it is spelt."""
    wanted = plain(name).removeprefix(f"{plain(spec.name)}.")
    called = [offer for offer in spec.capabilities if wanted in _names_of(offer)]
    return called[0] if len(called) == 1 else None


def _names_of(offer: Capability) -> list[str]:
    return list(map(plain, (offer.name, *offer.synonyms)))


def _read_capability_as_arm(work: Compilation, step: Candidate) -> None:
    """R005: "sentiment" as an arm, or "analyst.sentiment", means one thing only.

    The step's own capability has to say the same, or nothing.
    """
    name, _, ending = step.arm.partition(".")
    named = _arm_called(work, name) if ending else None
    found = [
        (spec, offer)
        for spec in ([named] if named else work.specs.values())
        for offer in spec.capabilities
        if plain(ending or step.arm or step.capability) in _names_of(offer)
        and _is_for_plans(spec, offer)
    ]
    if len(found) != 1:
        return
    spec, offer = found[0]
    said = {plain(step.capability), plain(step.capability).rpartition(".")[2]}
    if step.capability and said.isdisjoint(_names_of(offer)):
        return
    work.note(
        "R005",
        f"{step.name}: arm “{clip(step.arm)}” was read as “{offer.name}” of "
        f"“{spec.name}”, the only arm that has it.",
    )
    step.arm, step.capability = spec.name, offer.name
    step.spec, step.offer = spec, offer


def _is_for_plans(spec: ArmSpec, offer: Capability) -> bool:
    allowed = LIMITED_ARMS.get(spec.name)
    return allowed is None or offer.name in allowed


def _read_written(work: Compilation, step: Candidate, value: JSONValue) -> JSONValue:
    """R006: turn a string that spells an existing path into the reference it means."""
    if reference_path(value) is not None:
        return value
    if isinstance(value, dict):
        return {key: _read_written(work, step, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_read_written(work, step, each) for each in value]
    written = _WRITTEN_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if written is None or not _exists(work, written[1]):
        return value
    work.note("R006", f"{step.name}: “{clip(written[1])}” was read as a reference.")
    return reference(written[1])


def _exists(work: Compilation, path: str) -> bool:
    step_id = step_of(path)
    if step_id is not None:
        return work.step(step_id) is not None
    roots: JSONObject = {"context": work.contract.context}
    try:
        look_up(roots, path)
    except MissingInputError:
        return False
    return True


def _drop_unknown_dependencies(work: Compilation, step: Candidate) -> None:
    """R007: a step that is not there cannot be waited for."""
    known = [parent for parent in step.depends_on if work.step(parent) is not None]
    if len(known) < len(step.depends_on):
        work.note("R007", f"{step.name}: dependencies on unknown steps were dropped.")
    step.depends_on = list(dict.fromkeys(known))


def _add_implied_dependencies(work: Compilation, step: Candidate) -> None:
    """R008: who reads a step's output waits for it; recipes leave that to us."""
    for path in references(step.input):
        parent = step_of(path)
        if parent is None or parent in step.depends_on or work.step(parent) is None:
            continue
        step.depends_on.append(parent)
        if work.source != "recipe":
            work.note(
                "R008",
                f"{step.name}: it reads from step “{parent}”, so it waits for it.",
            )


def _replace_arm_away(work: Compilation, step: Candidate) -> None:
    """R011: of two arms that do the same, take the one that can be had."""
    found = substitutes(work, step)
    if len(found) == 1:
        spec, offer = found[0]
        work.note(
            "R011",
            f"{step.name}: arm “{step.arm}” is away now; “{spec.name}” does "
            f"“{offer.name}” in its place.",
        )
        take(step, spec, offer)
