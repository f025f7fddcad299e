"""The goals that planning is judged by, and the plans that answer them.

``goals.jsonl`` holds one goal a line, in the shape of ``Goal``. The goals are this
project's own and stand under its licence. Their gold is by hand: which arms and
capabilities answer a goal, and which of their steps needs which.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from planner.draft import PlanDraft
from planner.plan import PlanningContract, reference

GOALS_FILE = Path(__file__).resolve().parent / "goals.jsonl"

Kind = Literal[
    "recipe",
    "multi_step",
    "open_ended",
    "not_runnable_yet",
    "missing_input",
    "impossible",
]
KINDS: tuple[Kind, ...] = get_args(Kind)


class _Value(BaseModel):
    """Strict: a misspelt key in the file is found by the first test."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class StoredText(_Value):
    """A document that its owner has ingested before the goal is planned."""

    collection: str
    title: str
    text: str


class Budget(_Value):
    """The limits of a goal; those of a task by default."""

    max_cost_usd: Decimal = Decimal("1.00")
    max_time_s: float = 600.0
    max_tokens: int = 10_000


class GoldStep(_Value):
    """One step of an acceptable plan.

    Attributes:
        do: arm and capability, such as ``analyst.sentiment``.
        sources: inputs that come from somewhere, by path.
        values: inputs that are written out.
        after: steps it follows; those it reads from need not be listed.
    """

    id: str
    do: Annotated[str, Field(pattern=r"^[a-z_]+\.[a-z_]+$")]
    sources: Annotated[dict[str, str], Field(alias="from")] = {}
    values: Annotated[dict[str, JsonValue], Field(alias="set")] = {}
    after: tuple[str, ...] = ()

    @property
    def depends_on(self) -> tuple[str, ...]:
        """The ids of the steps it waits for."""
        paths = (path.split(".") for path in self.sources.values())
        read = (parts[1] for parts in paths if parts[0] == "steps")
        return tuple(dict.fromkeys((*self.after, *read)))

    @property
    def input(self) -> dict[str, Any]:
        """The step's input as a plan holds it."""
        referred = {name: reference(path) for name, path in self.sources.items()}
        return {**referred, **self.values}


class Goal(_Value):
    """One goal.

    Attributes:
        kind: ``recipe`` one recipe answers it; ``multi_step`` it takes several steps
            that may need each other; ``open_ended`` only a model can plan it;
            ``not_runnable_yet`` its arms are planned and do not run yet;
            ``missing_input`` there is nothing to work on; ``impossible`` no plan
            keeps the limits it sets.
        recipes: what planning without a model does: ``plan`` it; ``may`` plan it;
            ``refuse`` it as a model's work; or end with that error's code.
        gold: acceptable plans; any of them is right. The first is written out with
            its inputs and compiles. None: no listed arm can do the work.
    """

    id: str
    kind: Kind
    goal: str
    context: dict[str, Any] = {}
    documents: tuple[StoredText, ...] = ()
    constraints: tuple[str, ...] = ()
    criteria: tuple[str, ...] = ()
    budget: Budget = Budget()
    assigned_arm: str | None = None
    recipes: Literal["plan", "may", "refuse", "missing_input", "invalid_plan"]
    gold: tuple[tuple[GoldStep, ...], ...] = ()

    def contract(self, *, scope: UUID | None = None) -> PlanningContract:
        """Return what the planner is given, for a task of its own."""
        return PlanningContract(
            task_id=uuid4(),
            goal=self.goal,
            constraints=self.constraints,
            acceptance_criteria=self.criteria,
            context=self.context,
            max_cost_usd=self.budget.max_cost_usd,
            max_time_s=self.budget.max_time_s,
            max_tokens=self.budget.max_tokens,
            assigned_arm=self.assigned_arm,
            knowledge_scope=scope,
        )


@cache
def all_goals() -> tuple[Goal, ...]:
    """Return the goals in the order of the file."""
    lines = GOALS_FILE.read_text().splitlines()
    return tuple(Goal.model_validate_json(line) for line in lines)


def goals_by_id() -> Mapping[str, Goal]:
    """Return the goals by their ids."""
    return {goal.id: goal for goal in all_goals()}


def gold_draft(goal: Goal) -> PlanDraft:
    """Return the goal's first gold plan as a draft that can be compiled."""
    steps = [
        {
            "step_id": step.id,
            "arm": step.do.partition(".")[0],
            "capability": step.do.partition(".")[2],
            "depends_on": list(step.depends_on),
            "input": step.input,
        }
        for step in goal.gold[0]
    ]
    return PlanDraft.model_validate({"steps": steps})
