"""What a plan's steps name literally, and the ceilings above it: rule P022."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import reduce
from typing import Any
from urllib.parse import urlsplit

from arms.contract import ArmSpec
from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner.candidate import Candidate, Compilation, clip
from planner.grants import EVERYTHING, KINDS, NOTHING, Grants, is_pattern
from planner.plan import look_up, reference_path

_KIND_OF_KEY: Mapping[str, str] = {
    "tool": "tools",
    "tools": "tools",
    "command": "commands",
    "commands": "commands",
    "host": "hosts",
    "hosts": "hosts",
    "url": "hosts",
    "urls": "hosts",
}
_HOST = re.compile(r"[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?|[0-9a-f.]*:[0-9a-f:.]*")
# Libraries disagree on where the host of such an address ends.
_ODD_ADDRESS = re.compile(r"[\\\s\x00-\x1f]")
# What a shell reads as more than the words of one command.
_SHELL_SIGNS = re.compile(r"[^\w ./:=@%+,-]")


def check_grants(work: Compilation) -> None:
    """P022: the plan uses nothing beyond the policy and the task's grants.

    Where a person may be asked, that is no fault of the plan; see ``beyond``.
    """
    for step in work.steps:
        if step.spec is None:
            continue
        used = grants_of_step(work, step)
        for kind, name in used.beyond(_of_arm(step.spec)):
            work.refuse(
                "P022",
                f"{step.name}: {kind[:-1]} “{clip(name)}” is nothing that the arm "
                f"“{step.arm}” asks for ({_listed(_of_arm(step.spec), kind)}).",
            )
        for kind, name in used.beyond(work.policy):
            if not _may_be_asked(work, kind, name):
                work.refuse("P022", _beyond_policy(work, step, kind, name))
        ceiling = work.contract.grants
        for kind, name in used.beyond(ceiling) if ceiling is not None else ():
            if _may_be_asked(work, kind, name):
                continue
            work.refuse(
                "P022",
                f"{step.name}: {kind[:-1]} “{clip(name)}” is beyond what this task was "
                f"granted ({_listed(ceiling, kind)}); plan without it.",
            )


def grants_of(work: Compilation) -> Grants:
    """Return what all steps use together, those that are kept too."""
    return _used(work, (*work.kept, *work.steps))


def beyond(work: Compilation) -> tuple[tuple[str, str], ...]:
    """Return what the plan uses beyond the policy or the task's grants, by kind.

    Steps that are kept have run with what they were allowed.
    """
    used, granted = _used(work, work.steps), work.contract.grants
    over_policy = used.beyond(work.policy)
    over_granted = used.beyond(granted) if granted is not None else ()
    over = {*over_policy, *over_granted}
    return tuple(pair for pair in used.beyond(NOTHING) if pair in over)


def _used(work: Compilation, steps: Iterable[Candidate]) -> Grants:
    return reduce(
        Grants.joined, (grants_of_step(work, step) for step in steps), NOTHING
    )


def grants_of_step(work: Compilation, step: Candidate) -> Grants:
    """Return the arm of a step, and the tools, commands and hosts its input names.

    Only inputs and members that the capability's schema declares count: a label
    "host" in a caller's own table of words names no host.
    """
    found: dict[str, set[str]] = {kind: set() for kind in KINDS}
    found["arms"].add(step.arm)
    schema = step.offer.input_schema if step.offer is not None else {}
    for key, value in _entries(step.input, schema, is_input=True):
        kind = _KIND_OF_KEY.get(key.lower())
        if kind is not None:
            found[kind].update(
                _names(work, kind, value, is_address="url" in key.lower())
            )
    return Grants(**{kind: frozenset(names) for kind, names in found.items()})


def _of_arm(spec: ArmSpec) -> Grants:
    """Return what an arm says that its steps may ask for; all where it says nothing."""
    if not spec.grants:
        return Grants(**{kind: frozenset({EVERYTHING}) for kind in KINDS})
    return Grants.from_json({"arms": (EVERYTHING,), **spec.grants})


def _may_be_asked(work: Compilation, kind: str, name: str) -> bool:
    """Tell whether a person may allow a name; a pattern would allow more than it says."""
    return work.contract.may_ask and not is_pattern(kind, name)


def _beyond_policy(work: Compilation, step: Candidate, kind: str, name: str) -> str:
    return (
        f"{step.name}: {kind[:-1]} “{clip(name)}” is not allowed by this system's "
        f"policy ({_listed(work.policy, kind)}); plan without it, or have the operator "
        f"add it to OCTOLLM_PLAN_POLICY."
    )


def _listed(ceiling: Grants | None, kind: str) -> str:
    names = sorted(ceiling.of_kind(kind)) if ceiling is not None else []
    return f"{kind}: {clip(', '.join(names), 200) or 'none'}"


def _entries(
    value: JSONValue, schema: Mapping[str, Any], *, is_input: bool = False
) -> Iterator[tuple[str, JSONValue]]:
    """Yield the members that a schema declares, and every input itself."""
    if isinstance(value, list):
        items = schema.get("items")
        for each in value if isinstance(items, dict) else ():
            yield from _entries(each, items or {})
    elif isinstance(value, dict) and reference_path(value) is None:
        declared = schema.get("properties")
        declared = declared if isinstance(declared, dict) else {}
        for key, each in value.items():
            if is_input or key in declared:
                yield key, each
                yield from _entries(each, declared.get(key) or {})


def _names(
    work: Compilation, kind: str, value: JSONValue, *, is_address: bool
) -> Iterator[str]:
    path = reference_path(value)
    if path is not None:
        value = _of_context(work, path)
    if kind == "commands" and isinstance(value, list):
        # A list is one command with its arguments.
        value = " ".join(map(str, value))
    for each in value if isinstance(value, list) else [value]:
        if isinstance(each, str) and each.strip():
            yield _name(kind, each.strip(), is_address=is_address)


def _name(kind: str, text: str, *, is_address: bool) -> str:
    if kind == "commands":
        # With signs of the shell it may be several commands: only the whole is a name.
        return text if _SHELL_SIGNS.search(text) else text.split()[0]
    return _host(text, is_address=is_address) if kind == "hosts" else text


def _host(text: str, *, is_address: bool) -> str:
    """Return the host's name alone, or the whole text where readers may differ."""
    if _ODD_ADDRESS.search(text) or (not is_address and set("/@?#") & set(text)):
        return text
    try:
        found = urlsplit(text if is_address else f"//{text}").hostname or ""
    except ValueError:
        found = ""
    plain = found.removesuffix(".")
    return plain if _HOST.fullmatch(plain) else text


def _of_context(work: Compilation, path: str) -> JSONValue:
    roots: JSONObject = {"context": work.contract.context}
    try:
        return look_up(roots, path)
    except MissingInputError:
        return None
