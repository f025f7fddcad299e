"""Rules about what flows where: references, inputs and the result.

Every rule reports, none stops. ``rulebook.py`` lists them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from arms.contract import Capability
from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.candidate import Candidate, Compilation, clip
from planner.plan import (
    REFERENCE_KEY,
    goal_roots,
    look_up,
    reference_path,
    references,
    step_of,
)
from planner.shapes import can_flow, member, misfit, type_name

# What decides who does what and where is chosen before any tainted text is read.
LITERAL_KEYS = frozenset(
    ("arm", "capability", "tool", "tools", "command", "commands", "host", "hosts")
)
# These hold a host; the caller's own context may give it, no step may.
ADDRESS_KEYS = frozenset({"url", "urls"})
# Keys of a result that the pipeline fills.
RESERVED_RESULT_KEYS = frozenset(
    {"outputs", "criteria", "reservations", "partial", "fully_verified"}
)
MAX_PATH = 1_000


def check_references(work: Compilation, step: Candidate) -> None:
    """P007 to P010, P014: references are well formed and lead somewhere."""
    for broken in _malformed(step.input):
        work.refuse("P007", f"{step.name}: {broken}.")
    for key, value in _members(step.input):
        _check_literal(work, step, key, value)
    for path in references(step.input):
        _check_path(work, step.name, path)


def check_input(work: Compilation, step: Candidate) -> None:
    """P011, P012, P013: what the capability needs is there and fits."""
    if step.offer is None:
        return
    for rule, sentence in input_faults(work, step, step.offer):
        work.refuse(rule, f"{step.name}: {sentence}.")


def input_faults(
    work: Compilation, step: Candidate, offer: Capability
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with the step's input for ``offer``: rule and sentence."""
    schema = offer.input_schema
    required = schema.get("required")
    for key in required if isinstance(required, list) else ():
        if key not in step.input:
            yield "P011", f"{offer.name} needs input “{key}”"
    for key, value in step.input.items():
        wanted = member(schema, key)
        if wanted is None:
            takes = schema.get("properties")
            known = ", ".join(takes) if isinstance(takes, dict) else ""
            yield (
                "P012",
                f"{offer.name} takes no input “{clip(key)}”; it takes "
                f"{known or 'nothing'}",
            )
            continue
        problem = _misfit_of(work, value, wanted, f"input “{clip(key)}”")
        if problem:
            yield "P013", problem


def check_result(work: Compilation) -> None:
    """P016: the result is filled from outputs and uses no reserved key."""
    for key, value in work.result.items():
        name = clip(key)
        if key in RESERVED_RESULT_KEYS:
            work.refuse("P016", f"The result key “{name}” is reserved; rename it.")
        for broken in _malformed(value):
            work.refuse("P007", f"result “{name}”: {broken}.")
        paths = references(value)
        if not paths or any(step_of(path) is None for path in paths):
            work.refuse("P016", f"Result “{name}” must refer to the output of a step.")
        for path in paths:
            _check_path(work, f"result “{name}”", path)


def _check_literal(
    work: Compilation, step: Candidate, key: str, value: JSONValue
) -> None:
    kind, paths = key.lower(), references(value)
    if kind in LITERAL_KEYS and paths:
        work.refuse(
            "P014", f"{step.name}: “{clip(key)}” must be written out literally."
        )
    elif kind in ADDRESS_KEYS and not all(map(_is_of_context, paths)):
        work.refuse(
            "P014",
            f"{step.name}: “{clip(key)}” must be written out literally or come from "
            "the context, never from a step.",
        )


def _is_of_context(path: str) -> bool:
    return path.startswith("context.")


def _check_path(work: Compilation, who: str, path: str) -> None:
    root, _, rest = path.partition(".")
    if len(path) > MAX_PATH:
        work.refuse("P007", f"{who}: “{clip(path)}” is too long for a reference.")
    elif root == "steps" and rest:
        _check_output(work, who, rest)
    elif root == "context":
        try:
            look_up({"context": work.contract.context}, path)
        except MissingInputError:
            keys = sorted(map(clip, work.contract.context))
            has = clip(", ".join(keys), 300) or "nothing"
            work.refuse(
                "P010", f"{who}: “{clip(path)}” does not exist; context has {has}."
            )
    elif _in_goal(work, path) is None:
        work.refuse(
            "P007",
            f"{who}: “{clip(path)}” must be goal, context.KEY or steps.ID.KEY.",
        )


def _in_goal(work: Compilation, path: str) -> JSONValue:
    """Return the goal, or the texts in it that a path leads to; else nothing."""
    if not path.startswith("goal"):
        return None
    try:
        return look_up(goal_roots(work.contract.goal, path), path)
    except MissingInputError:
        return None


def _check_output(work: Compilation, who: str, rest: str) -> None:
    step_id, *keys = rest.split(".")
    step = work.step(step_id)
    if step is None:
        work.refuse(
            "P008", f"{who}: it refers to step “{clip(step_id)}”, which is not there."
        )
    elif step.offer is not None and _output_schema(step, keys) is None:
        outputs = step.offer.output_schema.get("properties")
        gives = ", ".join(outputs) if isinstance(outputs, dict) else "nothing"
        missing = clip(".".join(keys))
        work.refuse(
            "P009",
            f"{who}: step “{step_id}” gives no “{missing}”; it gives {gives}.",
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
    if (found := _in_goal(work, path)) is not None:
        return misfit(found, wanted, name)
    if step_of(path) is None:
        return _misfit_of_context(work, path, wanted, name)
    step_id, *keys = path.removeprefix("steps.").split(".")
    step = work.step(step_id)
    given = _output_schema(step, keys) if step is not None else None
    if given is None or can_flow(given, wanted):
        return None
    return (
        f"{name} gets {type_name(given)} from “{clip(path)}”, needs {type_name(wanted)}"
    )


def _misfit_of_context(
    work: Compilation, path: str, wanted: Mapping[str, JSONValue], name: str
) -> str | None:
    if len(path) > MAX_PATH:
        return None
    # Several steps often take the same long list.
    known = (path, name, repr(wanted))
    if known not in work.context_faults:
        roots: JSONObject = {"context": work.contract.context}
        try:
            found = look_up(roots, path)
            fault = misfit(found, wanted, f"{name} (“{clip(path)}”)")
        except MissingInputError:
            fault = None
        work.context_faults[known] = fault
    return work.context_faults[known]


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
