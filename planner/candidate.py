"""A step while the compiler works on it, and what the compiler finds out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from arms.contract import ArmSpec, Capability
from octollm.types import JSONObject, JSONValue
from planner.estimates import Estimate, estimate
from planner.grants import Grants
from planner.observed import Observations
from planner.plan import PlanningContract, Source, reference, reference_path


@dataclass(kw_only=True)
class Candidate:
    """A proposed step that is being mended.

    Attributes:
        arm, capability: empty while unknown; ``arm`` is the catalogue's name.
        spec, offer: the catalogue's entries, once found.
    """

    step_id: str
    description: str
    arm: str
    capability: str
    depends_on: list[str]
    input: JSONObject
    criteria: list[int]
    spec: ArmSpec | None = None
    offer: Capability | None = None

    @property
    def name(self) -> str:
        """How sentences speak of the step."""
        return f"step “{self.step_id}”"

    @property
    def is_repeatable(self) -> bool:
        """Whether the step has no effect but its output."""
        return self.spec is not None and self.spec.is_repeatable


@dataclass(kw_only=True)
class Compilation:
    """One run of the compiler: what it reads, and what it has found so far.

    Attributes:
        specs: the catalogue by name.
        observations: what steps took before.
        policy: what the operator lets plans use, or let this task's.
        context_faults: what is wrong with a place in the context as a certain input.
        finished: in a later version, steps that are done: to refer to, not to run.
        kept: those of them that stay in the plan.
        replaced: ids of those whose output must not fill the result.
    """

    contract: PlanningContract
    specs: Mapping[str, ArmSpec]
    source: Source
    observations: Observations = field(default_factory=dict)
    policy: Grants = field(default_factory=Grants)
    steps: list[Candidate] = field(default_factory=list)
    result: dict[str, JSONValue] = field(default_factory=dict)
    repairs: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    context_faults: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    finished: list[Candidate] = field(default_factory=list)
    kept: list[Candidate] = field(default_factory=list)
    replaced: set[str] = field(default_factory=set)

    def refuse(self, rule: str, sentence: str) -> None:
        """Record that a rule is broken; ``rule`` is its id, such as ``P003``."""
        self.violations.append(f"{rule}: {sentence}")

    def note(self, repair: str, sentence: str) -> None:
        """Record what was mended or should be known; its id is such as ``R003``."""
        self.repairs.append(f"{repair}: {sentence}")

    def estimate(self, step: Candidate) -> Estimate:
        """Return what a step is expected to need; nothing while its arm is unknown."""
        return self.estimate_of(step.arm, step.offer) if step.offer else Estimate()

    def estimate_of(self, arm: str, offer: Capability) -> Estimate:
        """Return what one call of an arm's capability is expected to need."""
        return estimate(offer, self.observations.get((arm, offer.name)))

    def step(self, step_id: str) -> Candidate | None:
        """Return the first step of that id, or nothing; finished ones come last."""
        known = (*self.steps, *self.finished)
        return next((step for step in known if step.step_id == step_id), None)

    def final_steps(self) -> list[Candidate]:
        """Return the steps that no other depends on."""
        used = {parent for step in self.steps for parent in step.depends_on}
        return [step for step in self.steps if step.step_id not in used]


def clip(text: str, limit: int = 60) -> str:
    """Return the start of a text that somebody else wrote, to quote it."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def plain(name: str) -> str:
    """Return a name as it is compared: "Data-Analyst" is data_analyst."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def rewrite(value: JSONValue, change: Callable[[str], str]) -> JSONValue:
    """Return ``value`` with the path of every reference changed."""
    path = reference_path(value)
    if path is not None:
        return reference(change(path))
    if isinstance(value, dict):
        return {key: rewrite(member, change) for key, member in value.items()}
    if isinstance(value, list):
        return [rewrite(member, change) for member in value]
    return value


def rewrite_object(value: JSONObject, change: Callable[[str], str]) -> JSONObject:
    """Return an object with the path of every reference in its members changed."""
    return {key: rewrite(member, change) for key, member in value.items()}


def renamed_step(path: str, names: Mapping[str, str]) -> str:
    """Return ``path`` with the id of its step replaced by its new name.

    An old id may hold dots, so the longest one that fits is taken.
    """
    if not path.startswith("steps."):
        return path
    rest = path.removeprefix("steps.")
    for old in sorted(names, key=len, reverse=True):
        if rest == old or rest.startswith(f"{old}."):
            return f"steps.{names[old]}{rest[len(old):]}"
    return path
