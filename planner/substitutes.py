"""Which arms could do a step in place of the one it names, with the same outcome."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from arms.contract import ArmSpec, Capability
from octollm.types import JSONValue
from planner.candidate import Candidate, Compilation
from planner.constraints import allows_arm
from planner.dataflow import input_faults
from planner.rules import may_use
from planner.shapes import member, types_of


def substitutes(work: Compilation, step: Candidate) -> list[tuple[ArmSpec, Capability]]:
    """Return the arms that offer the step's capability alike, by name.

    Alike means: both have no effect but their output, are shown the same personal
    data and use nothing more; the input fits, and every output is there with its
    type. None while the step's own arm is unknown, or when the caller chose it.
    """
    if step.spec is None or step.offer is None or not step.is_repeatable:
        return []
    if work.contract.assigned_arm == step.arm or work.source == "caller":
        return []
    return sorted(_alike(work, step), key=lambda found: found[0].name)


def take(step: Candidate, spec: ArmSpec, offer: Capability) -> None:
    """Have another arm do the step."""
    step.arm, step.spec, step.offer = spec.name, spec, offer


def _alike(work: Compilation, step: Candidate) -> Iterator[tuple[ArmSpec, Capability]]:
    for spec in work.specs.values():
        offer = spec.capability(step.capability)
        if offer is None or step.spec is None or step.offer is None:
            continue
        if (
            spec.name != step.arm
            and spec.is_repeatable
            and spec.sees == step.spec.sees
            and set(offer.uses) <= set(step.offer.uses)
            and may_use(work, spec.name)
            and allows_arm(work, spec.name)
            and _gives_as_much(offer.output_schema, step.offer.output_schema)
            and not any(input_faults(work, step, offer))
        ):
            yield spec, offer


def _gives_as_much(
    other: Mapping[str, JSONValue], own: Mapping[str, JSONValue]
) -> bool:
    outputs = own.get("properties")
    for key in outputs if isinstance(outputs, dict) else ():
        there, here = member(other, key), member(own, key)
        if there is None or here is None or types_of(there) != types_of(here):
            return False
    return True
