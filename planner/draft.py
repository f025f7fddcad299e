"""A plan before it is checked: what a model, a recipe or a caller proposes.

Nothing here is trusted. Shapes are coerced where that loses nothing; the compiler
decides about everything else.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue

from planner.plan import Plan, to_json

MAX_DEPTH = 20


def _as_id(value: object) -> object:
    """Take 1 for "1"; models number steps either way."""
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else value


def _as_list(value: object) -> object:
    """Take nothing for an empty list, which models write as null."""
    return [] if value is None else value


def _as_shallow(value: object) -> object:
    """Refuse what is nested so deep that walking it could exhaust the stack."""
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for each in level for inner in _members(each)]
        if not level:
            return value
    raise ValueError(f"nested deeper than {MAX_DEPTH} levels")


def _members(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


StepId = Annotated[str, BeforeValidator(_as_id), Field(max_length=200)]


class StepDraft(BaseModel):
    """One proposed step.

    ``arm`` and ``capability`` may hold any JSON, so that the compiler can say why a
    reference there is refused. Fields that are not listed, such as a model's own
    estimates, are ignored.
    """

    model_config = ConfigDict(frozen=True)

    step_id: StepId
    description: str = ""
    arm: Annotated[JsonValue, BeforeValidator(_as_shallow)]
    capability: Annotated[JsonValue, BeforeValidator(_as_shallow)]
    depends_on: Annotated[list[StepId], BeforeValidator(_as_list)] = []
    input: Annotated[dict[str, JsonValue], BeforeValidator(_as_shallow)] = {}
    criteria: Annotated[list[int], BeforeValidator(_as_list)] = []


class PlanDraft(BaseModel):
    """A proposed plan.

    Attributes:
        result: keys of the result and the references that fill them; the outputs of
            the last steps when empty.
        replaces: in a later version, ids of finished steps that must not count.
        notes: what the maker of the draft wants recorded with the plan.
    """

    model_config = ConfigDict(frozen=True)

    steps: Annotated[list[StepDraft], Field(max_length=100)]
    result: Annotated[dict[str, JsonValue], BeforeValidator(_as_shallow)] = {}
    replaces: Annotated[list[StepId], BeforeValidator(_as_list)] = []
    recipe: str | None = None
    model: str | None = None
    prompt_version: str | None = None
    notes: tuple[str, ...] = ()


def draft_of(plan: Plan) -> PlanDraft:
    """Return a plan as a proposal, to compile it again for another request or day.

    What was mended stays on record; how long it may take is estimated afresh.
    """
    written = to_json(plan)
    notes = tuple(each for each in plan.repairs if not each.startswith("N"))
    return PlanDraft.model_validate(written | {"notes": notes})
