"""Plans as values: steps, references between them, and their JSON form.

A reference is an object with the single key ``$from``. It names the goal, the texts
that the goal brings, a place in the context or an output of a step, and is resolved
when the step runs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal, TypeAlias
from uuid import UUID

from octollm.errors import MissingInputError
from octollm.types import JSONObject, JSONValue
from planner import goal_texts
from planner.grants import NOTHING, Grants
from planner.revision import Revision

REFERENCE_KEY = "$from"
_INDEX = re.compile(r"[0-9]{1,9}")
# How many parts of a path one key may take up; without a bound a long path is slow.
_MAX_KEY_PARTS = 64

Source: TypeAlias = Literal["recipe", "model", "cache", "caller", "memory"]


@dataclass(frozen=True, kw_only=True)
class PlanningContract:
    """What a plan is made from; every text in it is concealed already.

    Attributes:
        context: a JSON object that inputs refer to.
        max_time_s: seconds for the whole task.
        assigned_arm: the arm that the caller wants the work done by, if any.
        knowledge_scope: whose documents may be used, or ``None`` for nobody's.
        away: arms that cannot be had now, each with the reason.
        grants: what the plan must stay within beside the operator's policy; ``None``
            for a task's first plan.
        model: the only one that may plan; empty: whichever the operator has set.
        approved: what an operator allowed this task beyond the policy.
        may_ask: a plan that goes beyond its ceilings is no fault: a person is asked.
        revision: what the version before left; ``None`` for a first plan.
    """

    task_id: UUID
    goal: str
    constraints: tuple[str, ...] = ()
    acceptance_criteria: tuple[str, ...] = ()
    context: JSONObject
    max_cost_usd: Decimal
    max_time_s: float
    max_tokens: int
    assigned_arm: str | None = None
    knowledge_scope: UUID | None = None
    away: Mapping[str, str] = field(default_factory=dict)
    grants: Grants | None = None
    model: str = ""
    approved: Grants = NOTHING
    may_ask: bool = False
    revision: Revision | None = None


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """One step of a valid plan.

    Attributes:
        depends_on: ids of earlier steps.
        input: may hold references.
        criteria: indexes into the contract's acceptance criteria.
        estimated_cost: USD, by the catalogue or, if dearer, as observed.
        estimated_time: seconds, by the catalogue or as observed.
        estimated_time_p90: seconds that nine of ten such steps stay below.
    """

    step_id: str
    description: str
    arm: str
    capability: str
    depends_on: tuple[str, ...]
    input: JSONObject
    criteria: tuple[int, ...]
    estimated_cost: Decimal
    estimated_time: float
    estimated_time_p90: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan that the compiler passed.

    Attributes:
        steps: those to run, in an order in which each comes after those it depends on.
        kept: ids of finished steps that stay in a later version; not in its JSON form.
        result: keys of the result, each with the reference that fills it.
        repairs: what was mended or should be known, one sentence each.
        total_estimated_cost: USD, the sum over all steps.
        total_estimated_time: seconds along the critical path.
        sum_estimated_time: seconds if the steps ran one after the other.
        total_estimated_time_p90: seconds along the critical path if every step took
            what nine of ten stay below; 0 in a plan stored before there were any.
        grants: what the plan uses.
        beyond: what of it exceeds the operator's policy or the task's grants, pairs
            of kind and name; it may not run before a person has allowed that.
        unserved: indexes of criteria that no step serves, each with the reason.
    """

    source: Source
    steps: tuple[PlannedStep, ...]
    kept: tuple[str, ...] = ()
    result: Mapping[str, JSONValue]
    recipe: str | None = None
    model: str | None = None
    prompt_version: str | None = None
    repairs: tuple[str, ...] = ()
    total_estimated_cost: Decimal
    total_estimated_time: float
    sum_estimated_time: float
    total_estimated_time_p90: float = 0.0
    grants: Grants = NOTHING
    beyond: tuple[tuple[str, str], ...] = ()
    unserved: tuple[tuple[int, str], ...] = ()


def reference(path: str) -> JSONObject:
    """Return the reference to ``path``."""
    return {REFERENCE_KEY: path}


def reference_path(value: JSONValue) -> str | None:
    """Return the path that ``value`` refers to, or nothing if it is no reference."""
    if isinstance(value, dict) and len(value) == 1:
        path = value.get(REFERENCE_KEY)
        return path if isinstance(path, str) else None
    return None


def references(value: JSONValue | Mapping[str, JSONValue]) -> tuple[str, ...]:
    """List the paths that ``value`` refers to, in order of appearance, each once."""
    return tuple(dict.fromkeys(_walk(value)))


def step_of(path: str) -> str | None:
    """Return the id of the step that a path belongs to, or nothing."""
    root, _, rest = path.partition(".")
    return rest.partition(".")[0] if root == "steps" and rest else None


def resolve(
    value: JSONValue,
    *,
    goal: str,
    context: JSONObject,
    outputs: Mapping[str, JSONObject],
) -> JSONValue:
    """Return ``value`` with every reference replaced by what it refers to.

    Args:
        value: an input, or a plan's result mapping.
        goal: what the path ``goal`` stands for.
        context: what paths under ``context`` lead into.
        outputs: outputs of finished steps by step id.

    Raises:
        MissingInputError: a reference leads nowhere; the message names it.
    """
    path = reference_path(value)
    if path is not None:
        roots: JSONObject = {"context": context, "steps": dict(outputs)}
        return look_up(roots | goal_roots(goal, path), path)
    if isinstance(value, dict):
        return {
            key: resolve(member, goal=goal, context=context, outputs=outputs)
            for key, member in value.items()
        }
    if isinstance(value, list):
        return [
            resolve(member, goal=goal, context=context, outputs=outputs)
            for member in value
        ]
    return value


def goal_roots(goal: str, path: str) -> JSONObject:
    """Return what a path that begins with the goal leads into."""
    roots: JSONObject = {"goal": goal}
    if path.startswith(goal_texts.PATH):
        brought = goal_texts.texts_in(goal).texts
        roots[goal_texts.PATH] = list[JSONValue](brought)
    return roots


def look_up(value: JSONValue, path: str) -> JSONValue:
    """Follow a dotted path through objects and lists.

    A key may hold dots itself, up to 63: the longest key that fits is taken.

    Raises:
        MissingInputError: the path leads nowhere.
    """
    found = value
    rest = path.split(".")
    while rest:
        taken, found = _descend(found, rest, path)
        rest = rest[taken:]
    return found


def to_json(plan: Plan) -> JSONObject:
    """Return the plan as JSON, money as decimal strings."""
    return {
        "source": plan.source,
        "recipe": plan.recipe,
        "model": plan.model,
        "prompt_version": plan.prompt_version,
        "steps": [step_to_json(step) for step in plan.steps],
        "result": dict(plan.result),
        "repairs": list(plan.repairs),
        "unserved": [[index, reason] for index, reason in plan.unserved],
        "total_estimated_cost": str(plan.total_estimated_cost),
        "total_estimated_time": plan.total_estimated_time,
        "sum_estimated_time": plan.sum_estimated_time,
        "total_estimated_time_p90": plan.total_estimated_time_p90,
        "grants": plan.grants.to_json(),
        **({"beyond": [[*pair] for pair in plan.beyond]} if plan.beyond else {}),
    }


def step_to_json(step: PlannedStep) -> JSONObject:
    """Return one step as JSON."""
    return {
        "step_id": step.step_id,
        "description": step.description,
        "arm": step.arm,
        "capability": step.capability,
        "depends_on": list(step.depends_on),
        "input": step.input,
        "criteria": list(step.criteria),
        "estimated_cost": str(step.estimated_cost),
        "estimated_time": step.estimated_time,
        "estimated_time_p90": step.estimated_time_p90,
    }


def from_json(stored: Mapping[str, Any]) -> Plan:
    """Return the plan that ``to_json`` wrote."""
    return Plan(
        source=stored["source"],
        recipe=stored["recipe"],
        model=stored["model"],
        prompt_version=stored["prompt_version"],
        steps=tuple(step_from_json(step) for step in stored["steps"]),
        result=dict(stored["result"]),
        repairs=tuple(stored["repairs"]),
        unserved=tuple((int(index), str(why)) for index, why in stored["unserved"]),
        total_estimated_cost=Decimal(stored["total_estimated_cost"]),
        total_estimated_time=float(stored["total_estimated_time"]),
        sum_estimated_time=float(stored["sum_estimated_time"]),
        total_estimated_time_p90=float(stored.get("total_estimated_time_p90", 0.0)),
        grants=Grants.from_json(stored.get("grants", {})),
        beyond=tuple((str(kind), str(name)) for kind, name in stored.get("beyond", ())),
    )


def step_from_json(stored: Mapping[str, Any]) -> PlannedStep:
    """Return the step that ``step_to_json`` wrote."""
    return PlannedStep(
        step_id=stored["step_id"],
        description=stored["description"],
        arm=stored["arm"],
        capability=stored["capability"],
        depends_on=tuple(stored["depends_on"]),
        input=dict(stored["input"]),
        criteria=tuple(stored["criteria"]),
        estimated_cost=Decimal(stored["estimated_cost"]),
        estimated_time=float(stored["estimated_time"]),
        estimated_time_p90=float(stored.get("estimated_time_p90", 0.0)),
    )


def _walk(value: JSONValue | Mapping[str, JSONValue]) -> Iterator[str]:
    if isinstance(value, Mapping):
        path = reference_path(dict(value))
        if path is not None:
            yield path
            return
        for member in value.values():
            yield from _walk(member)
    elif isinstance(value, list):
        for member in value:
            yield from _walk(member)


def _descend(value: JSONValue, rest: list[str], path: str) -> tuple[int, JSONValue]:
    """Return how many parts of the path were used, and what they lead to."""
    if isinstance(value, list) and _INDEX.fullmatch(rest[0]):
        index = int(rest[0])
        if index < len(value):
            return 1, value[index]
    if isinstance(value, dict):
        for length in range(min(len(rest), _MAX_KEY_PARTS), 0, -1):
            key = ".".join(rest[:length])
            if key in value:
                return length, value[key]
    has = ", ".join(sorted(value)) if isinstance(value, dict) else ""
    there = f"; there is only {has}" if has else ""
    raise MissingInputError(f"“{path}” leads nowhere: “{rest[0]}” is missing{there}.")
