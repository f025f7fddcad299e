"""What the compiler mends by itself, because only one meaning is possible.

Each function changes the steps and records what it did in one sentence.
"""

from __future__ import annotations

import re

from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.candidate import Candidate, Compilation, renamed_step, rewrite_object
from planner.plan import look_up, reference, reference_path, references, step_of

_GOOD_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# The task's own steps have these ids beside the plan's.
RESERVED_IDS = frozenset({"plan", "judge"})
# "steps.1.texts", "{{ context.reviews }}", "${steps.1.count}": meant as references.
_WRITTEN_REFERENCE = re.compile(
    r"\$?\{{0,2} ?((?:steps|context)\.[\w-]+(?:\.[\w-]+)*) ?\}{0,2}"
)


def mend(work: Compilation) -> None:
    """Apply every repair, in an order in which none undoes another."""
    _rename_odd_ids(work)
    for step in work.steps:
        _find_in_catalogue(work, step)
    for step in work.steps:
        step.input = {
            key: _read_written(work, step, value) for key, value in step.input.items()
        }
    for step in work.steps:
        _drop_unknown_dependencies(work, step)
        _add_implied_dependencies(work, step)


def _rename_odd_ids(work: Compilation) -> None:
    ids = [step.step_id for step in work.steps]
    if len(set(ids)) < len(ids) or all(map(_is_good, ids)):
        return
    names = {old: str(number) for number, old in enumerate(ids, start=1)}
    for step in work.steps:
        step.step_id = names[step.step_id]
        step.depends_on = [names.get(parent, parent) for parent in step.depends_on]
        step.input = rewrite_object(step.input, lambda path: renamed_step(path, names))
    work.result = rewrite_object(work.result, lambda path: renamed_step(path, names))
    work.repairs.append("Step ids were odd or reserved, so the steps were numbered.")


def _is_good(step_id: str) -> bool:
    return step_id not in RESERVED_IDS and _GOOD_ID.fullmatch(step_id) is not None


def _find_in_catalogue(work: Compilation, step: Candidate) -> None:
    wanted = _plain(step.arm)
    named = next((name for name in work.specs if _plain(name) == wanted), None)
    meant = named or next(
        (
            spec.name
            for spec in work.specs.values()
            if wanted in map(_plain, spec.synonyms)
        ),
        None,
    )
    if meant is None:
        return
    if meant != step.arm:
        work.repairs.append(
            f"{step.name}: arm “{step.arm[:60]}” was read as “{meant}”."
        )
        step.arm = meant
    step.spec = work.specs[meant]
    step.offer = step.spec.capability(step.capability)


def _plain(name: str) -> str:
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def _read_written(work: Compilation, step: Candidate, value: JSONValue) -> JSONValue:
    """Turn a string that spells an existing path into the reference it means."""
    if reference_path(value) is not None:
        return value
    if isinstance(value, dict):
        return {key: _read_written(work, step, each) for key, each in value.items()}
    if isinstance(value, list):
        return [_read_written(work, step, each) for each in value]
    written = _WRITTEN_REFERENCE.fullmatch(value) if isinstance(value, str) else None
    if written is None or not _exists(work, written[1]):
        return value
    work.repairs.append(f"{step.name}: “{written[1]}” was read as a reference.")
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
    known = [parent for parent in step.depends_on if work.step(parent) is not None]
    if len(known) < len(step.depends_on):
        work.repairs.append(f"{step.name}: dependencies on unknown steps were dropped.")
    step.depends_on = list(dict.fromkeys(known))


def _add_implied_dependencies(work: Compilation, step: Candidate) -> None:
    for path in references(step.input):
        parent = step_of(path)
        if parent is None or parent in step.depends_on or work.step(parent) is None:
            continue
        step.depends_on.append(parent)
        if work.source != "recipe":
            work.repairs.append(
                f"{step.name}: it reads from step “{parent}”, so it depends on it."
            )
