"""Recipes: plans that are shipped as data files and need no model.

A recipe says which goals it fits, what it has to be given, its steps and the keys of
its result. In a step's input ``{"$slot": "texts"}`` stands for what is found to work
on.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from octollm.types import JSONObject, JSONValue

RECIPES_DIR = Path(__file__).resolve().parent / "recipes"
SLOT_KEY = "$slot"

Need = Literal["texts", "table", "pair", "documents"]


class _Value(BaseModel):
    """Strict: a misspelt key in a data file is found by the first test."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Fit(_Value):
    """Which goals a recipe fits; every list holds plain words.

    Attributes:
        subjects: words of which one is enough.
        verbs, objects: words that support a fit.
        phrases: a whole fit; ``*`` stands for up to four words.
        excludes: words that rule it out.
        counts_context: whether having what it needs in the context supports a fit.
    """

    subjects: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    counts_context: bool = False


class Option(_Value):
    """An input that is given only if the request says something about it.

    Attributes:
        keys: keys of the context that may hold it.
        is_required: whether the recipe cannot do without it.
        shape: what to supply, in words; for the message when it is missing.
        count_of: words; "5 keywords" in the goal means 5.
        choices: values by the words in the goal that ask for them.
    """

    keys: tuple[str, ...] = ()
    is_required: bool = False
    shape: str = ""
    count_of: tuple[str, ...] = ()
    choices: dict[str, tuple[str, ...]] = {}


class RecipeStep(_Value):
    """One step of a recipe."""

    id: str
    description: str
    arm: str
    capability: str
    input: dict[str, Any]
    options: dict[str, Option] = {}


class Recipe(_Value):
    """One data file.

    Attributes:
        needs: what has to be there to work on.
        result: keys of the result and the step's output that fills each.
        serves: phrases of criteria that its last step serves.
    """

    id: str
    title: str
    needs: Need
    fit: Fit
    steps: Annotated[tuple[RecipeStep, ...], Field(min_length=1)]
    result: dict[str, str]
    serves: tuple[str, ...] = ()


@cache
def all_recipes() -> tuple[Recipe, ...]:
    """Return the shipped recipes by id; the files are read once per process."""
    files = sorted(RECIPES_DIR.glob("*.toml"))
    return tuple(Recipe.model_validate(tomllib.loads(f.read_text())) for f in files)


def fill(value: JSONValue, slots: JSONObject) -> JSONValue:
    """Return ``value`` with every slot replaced by what fills it."""
    if isinstance(value, dict):
        if set(value) == {SLOT_KEY}:
            return slots[str(value[SLOT_KEY])]
        return {key: fill(member, slots) for key, member in value.items()}
    if isinstance(value, list):
        return [fill(member, slots) for member in value]
    return value
