"""The rules of the compiler, each with its id; all of them report, none stops.

P001 number of steps            P011 required input missing
P002 ids unique                 P012 unknown input
P003 no cycle                   P013 input does not fit
P004 arm unknown                P014 must be a literal
P005 capability not the arm's   P015 unknown criterion
P006 arm does no work steps     P016 result
P007 reference malformed        P017 constraint
P008 reference to no step       P018 assigned arm
P009 output not given           P019 cost
P010 not in the context         P020 time
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.candidate import Candidate, Compilation
from planner.constraints import broken_constraints
from planner.plan import REFERENCE_KEY, look_up, reference_path, references, step_of
from planner.shapes import can_flow, member, misfit

MIN_STEPS = 3
MAX_STEPS = 10

# Arms that plans use only for these capabilities: the pipeline adds the judge's step
# itself, and a planner inside a plan would plan without end.
LIMITED_ARMS: Mapping[str, frozenset[str]] = MappingProxyType(
    {"planner": frozenset({"batch"}), "judge": frozenset()}
)
# What decides who does what and where is chosen before any tainted text is read.
LITERAL_KEYS = frozenset({"arm", "capability", "tool", "command", "host"})
# Keys of a result that the pipeline fills.
RESERVED_RESULT_KEYS = frozenset(
    {"outputs", "criteria", "reservations", "partial", "fully_verified"}
)


def check_structure(work: Compilation) -> None:
    """P001, P002, P003: how many steps, their ids, and no cycle."""
    # A model is asked for a decomposition; a recipe or a person may need one step.
    fewest = MIN_STEPS if work.source == "model" else 1
    if not fewest <= len(work.steps) <= MAX_STEPS:
        work.refuse(
            "P001",
            f"A plan has {fewest} to {MAX_STEPS} steps; this one has {len(work.steps)}.",
        )
    ids = [step.step_id for step in work.steps]
    for twice in sorted({each for each in ids if ids.count(each) > 1}):
        work.refuse(
            "P002", f"More than one step has the id “{twice}”; make ids unique."
        )
    in_cycle = steps_in_cycles(work.steps)
    if in_cycle:
        names = ", ".join(in_cycle)
        work.refuse("P003", f"Steps {names} depend on each other in a circle; cut it.")


def check_arm(work: Compilation, step: Candidate) -> None:
    """P004, P005, P006: the step is done by an arm that can and may do it."""
    if step.spec is None:
        if step.arm:
            known = ", ".join(usable_arms(work))
            work.refuse(
                "P004", f"{step.name}: there is no arm “{step.arm[:60]}”; use {known}."
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
            f"{step.name}: “{step.arm}” has no capability “{step.capability[:60]}”; "
            f"it has {', '.join(sorted(allowed or offered))}.",
        )


def check_references(work: Compilation, step: Candidate) -> None:
    """P007 to P010, P014: references are well formed and lead somewhere."""
    for broken in _malformed(step.input):
        work.refuse("P007", f"{step.name}: {broken}.")
    for key, value in _members(step.input):
        if key in LITERAL_KEYS and references(value):
            work.refuse("P014", f"{step.name}: “{key}” must be written out literally.")
    for path in references(step.input):
        _check_path(work, step.name, path)


def check_input(work: Compilation, step: Candidate) -> None:
    """P011, P012, P013: what the capability needs is there and fits."""
    if step.offer is None:
        return
    schema = step.offer.input_schema
    required = schema.get("required")
    for key in required if isinstance(required, list) else ():
        if key not in step.input:
            work.refuse("P011", f"{step.name}: {step.capability} needs input “{key}”.")
    for key, value in step.input.items():
        wanted = member(schema, key)
        if wanted is None:
            work.refuse(
                "P012", f"{step.name}: {step.capability} takes no input “{key}”."
            )
            continue
        problem = _misfit_of(work, value, wanted, f"input “{key}”")
        if problem:
            work.refuse("P013", f"{step.name}: {problem}.")


def check_criteria(work: Compilation, step: Candidate) -> None:
    """P015: a step serves criteria that exist."""
    total = len(work.contract.acceptance_criteria)
    for index in step.criteria:
        if not 0 <= index < total:
            work.refuse(
                "P015",
                (
                    f"{step.name}: there is no criterion {index}; they are numbered "
                    f"from 0 to {total - 1}."
                    if total
                    else f"{step.name}: there are no criteria to serve."
                ),
            )


def check_result(work: Compilation) -> None:
    """P016: the result is filled from outputs and uses no reserved key."""
    for key, value in work.result.items():
        if key in RESERVED_RESULT_KEYS:
            work.refuse("P016", f"The result key “{key}” is reserved; rename it.")
        paths = references(value)
        if not paths or any(step_of(path) is None for path in paths):
            work.refuse("P016", f"Result “{key}” must refer to the output of a step.")
        for path in paths:
            _check_path(work, f"result “{key}”", path)


def check_wishes(work: Compilation) -> None:
    """P017, P018: constraints that can be computed, and the assigned arm."""
    for sentence in broken_constraints(work):
        work.refuse("P017", sentence)
    wanted = work.contract.assigned_arm
    if wanted is None:
        return
    if wanted not in work.specs:
        work.refuse("P018", f"The assigned arm “{wanted[:60]}” does not exist.")
        return
    # Earlier steps may fetch what the assigned arm works on.
    for step in work.final_steps():
        if step.spec is not None and step.arm != wanted:
            work.refuse(
                "P018",
                f"{step.name}: the work was assigned to “{wanted}”, so the last steps "
                f"must be done by it, not by “{step.arm}”.",
            )


def usable_arms(work: Compilation) -> list[str]:
    """Return the names of arms that a plan may use."""
    return sorted(name for name in work.specs if LIMITED_ARMS.get(name, True))


def steps_in_cycles(steps: Iterable[Candidate]) -> list[str]:
    """Return the ids of steps that wait for each other, in draft order."""
    waiting = {step.step_id: set(step.depends_on) for step in steps}
    while ready := [each for each, parents in waiting.items() if not parents]:
        for done in ready:
            del waiting[done]
        for parents in waiting.values():
            parents.difference_update(ready)
    return list(waiting)


def _check_path(work: Compilation, who: str, path: str) -> None:
    root, _, rest = path.partition(".")
    if root == "steps":
        _check_output(work, who, rest)
    elif root == "context":
        try:
            look_up({"context": work.contract.context}, path)
        except MissingInputError:
            has = ", ".join(sorted(work.contract.context)) or "nothing"
            work.refuse("P010", f"{who}: “{path}” does not exist; context has {has}.")
    elif path != "goal":
        work.refuse(
            "P007",
            f"{who}: “{path[:80]}” must be goal, context.KEY or steps.ID.KEY.",
        )


def _check_output(work: Compilation, who: str, rest: str) -> None:
    step_id, *keys = rest.split(".")
    step = work.step(step_id)
    if step is None:
        work.refuse(
            "P008", f"{who}: it refers to step “{step_id}”, which is not there."
        )
    elif step.offer is not None and _output_schema(step, keys) is None:
        outputs = step.offer.output_schema.get("properties")
        gives = ", ".join(outputs) if isinstance(outputs, dict) else "nothing"
        work.refuse(
            "P009",
            f"{who}: step “{step_id}” gives no “{'.'.join(keys)}”; it gives {gives}.",
        )


def _output_schema(step: Candidate, keys: list[str]) -> Mapping[str, JSONValue] | None:
    schema: Mapping[str, JSONValue] | None = (
        step.offer.output_schema if step.offer else {}
    )
    for key in keys:
        schema = member(schema, key) if schema is not None else None
    return schema


def _misfit_of(
    work: Compilation, value: JSONValue, wanted: Mapping[str, JSONValue], name: str
) -> str | None:
    path = reference_path(value)
    if path is None:
        return misfit(value, wanted, name)
    if path == "goal":
        return misfit(work.contract.goal, wanted, name)
    if step_of(path) is None:
        return _misfit_of_context(work, path, wanted, name)
    step_id, *keys = path.removeprefix("steps.").split(".")
    step = work.step(step_id)
    given = _output_schema(step, keys) if step is not None else None
    if given is None or can_flow(given, wanted):
        return None
    return f"{name} gets a {given['type']} from “{path}”, needs {wanted['type']}"


def _misfit_of_context(
    work: Compilation, path: str, wanted: Mapping[str, JSONValue], name: str
) -> str | None:
    roots: JSONObject = {"context": work.contract.context}
    try:
        found = look_up(roots, path)
    except MissingInputError:
        return None
    return misfit(found, wanted, f"{name} (“{path}”)")


def _malformed(value: JSONValue) -> Iterator[str]:
    if isinstance(value, dict):
        if REFERENCE_KEY in value and reference_path(value) is None:
            yield f"a reference is exactly {{“{REFERENCE_KEY}”: “path”}}"
        for each in value.values():
            yield from _malformed(each)
    elif isinstance(value, list):
        for each in value:
            yield from _malformed(each)


def _members(value: JSONValue) -> Iterator[tuple[str, JSONValue]]:
    """Yield every key and value of every object inside ``value``."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield key, each
            yield from _members(each)
    elif isinstance(value, list):
        for each in value:
            yield from _members(each)
