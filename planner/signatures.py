"""What a step does, whatever it and the steps before it are called.

Two steps of one signature ask the same arm for the same: same capability, same input,
from steps that did the same in their turn. Running the second brings nothing new.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from arms.contract import ArmSpec
from octollm.types import JSONObject, JSONValue
from planner.plan import reference_path
from reflex.fingerprints import fingerprint


class Signed(Protocol):
    """What counts of a step."""

    @property
    def step_id(self) -> str:
        """Its id, by which others refer to it."""

    @property
    def arm(self) -> str:
        """Who does it."""

    @property
    def capability(self) -> str:
        """What is done."""

    @property
    def description(self) -> str:
        """What it is for; a model reads that too."""

    @property
    def input(self) -> JSONObject:
        """With references."""


class Signatures:
    """The signatures of steps that may refer to each other."""

    def __init__(self, steps: Sequence[Signed], catalogue: Sequence[ArmSpec]) -> None:
        """Take all steps that an id may mean; of two with one id the later counts."""
        self._steps = {step.step_id: step for step in steps}
        self._reading = {
            (spec.name, offer.name)
            for spec in catalogue
            for offer in spec.capabilities
            if "model" in offer.uses
        }
        self._known: dict[str, str] = {}

    def of(self, step_id: str) -> str:
        """Return the signature of the step with that id."""
        if step_id not in self._known:
            # Stands while its own is made, so that a circle ends.
            self._known[step_id] = f"circle at {step_id}"
            self._known[step_id] = self._made(self._steps[step_id])
        return self._known[step_id]

    def _made(self, step: Signed) -> str:
        # As for the optimiser: an algorithm reads its input only.
        is_read = (step.arm, step.capability) in self._reading
        said = " ".join(step.description.casefold().split()) if is_read else ""
        parts: list[JSONValue] = [step.arm, step.capability, self._plain(step.input)]
        return fingerprint([*parts, said], purpose="step")

    def _plain(self, value: JSONValue) -> JSONValue:
        """Return ``value`` with the signature of a step where its id stood."""
        path = reference_path(value)
        if path is not None:
            return self._source(path)
        if isinstance(value, dict):
            return {key: self._plain(member) for key, member in value.items()}
        if isinstance(value, list):
            return [self._plain(member) for member in value]
        return value

    def _source(self, path: str) -> JSONValue:
        root, _, rest = path.partition(".")
        step_id, _, output = rest.partition(".")
        if root == "steps" and step_id in self._steps:
            return {"of": self.of(step_id), "output": output}
        return {"from": path}
