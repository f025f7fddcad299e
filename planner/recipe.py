"""Recipes: plans that are shipped as data files and need no model.

A recipe says which goals it fits, with examples, what it has to be given, its steps and
the keys of its result. In a step's input ``{"$slot": "texts"}`` stands for what is found
to work on. Each file holds a trial, too: the tests run it through the real arms.
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

Need = Literal["texts", "table", "tables", "pair", "value", "list", "documents"]


class _Value(BaseModel):
    """Strict: a misspelt key in a data file is found by the first test."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Fit(_Value):
    """Which goals a recipe fits; every list holds plain words.

    Attributes:
        subjects: words that are as strong a sign as a phrase.
        verbs: orders that it follows; they support a fit.
        objects: words that support a fit.
        phrases: a strong sign; ``*`` stands for up to four words, ``{n}`` for a number,
            ``a|b`` for either word.
        excludes: words and phrases that rule it out.
    """

    subjects: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ()
    objects: tuple[str, ...] = ()
    phrases: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()


class Option(_Value):
    """An input that is given only if the request says something about it.

    Attributes:
        keys: keys of the context that may hold it.
        is_required: whether the recipe cannot do without it.
        shape: what to supply, in words; for the message when it is missing.
        count_of: words; "5 keywords" in the goal means 5.
        count_after: words; "batches of 50" in the goal means 50.
        choices: values by the words in the goal that ask for them.
    """

    keys: tuple[str, ...] = ()
    is_required: bool = False
    shape: str = ""
    count_of: tuple[str, ...] = ()
    count_after: tuple[str, ...] = ()
    choices: dict[str, tuple[str, ...]] = {}


class RecipeStep(_Value):
    """One step of a recipe."""

    id: str
    description: str
    arm: str
    capability: str
    input: dict[str, Any]
    options: dict[str, Option] = {}


class Examples(_Value):
    """Goals in a caller's words: the first lists what the recipe is for.

    Attributes:
        fits: goals that it takes.
        refuses: goals that sound alike and that it must leave alone.
    """

    fits: Annotated[tuple[str, ...], Field(min_length=2)]
    refuses: Annotated[tuple[str, ...], Field(min_length=2)]


class TrialDocument(_Value):
    """A document that is ingested before a trial."""

    collection: str
    title: str
    text: str


class Trial(_Value):
    """A small request, and values that its result must hold.

    Attributes:
        result: values by dotted path, such as ``{"groups.0.count": 2}``.
    """

    goal: str
    context: dict[str, Any] = {}
    documents: tuple[TrialDocument, ...] = ()
    result: Annotated[dict[str, Any], Field(min_length=1)]


class Recipe(_Value):
    """One data file.

    Attributes:
        needs: what has to be there to work on.
        result: keys of the result and the step's output that fills each.
        gives: the key of the result that recipes after it work on in place of what
            they would have found; empty if it changes nothing.
        serves: phrases of criteria that its last step serves.
    """

    id: str
    title: str
    needs: Need
    gives: Literal["", "texts", "parts", "table"] = ""
    fit: Fit
    examples: Examples
    steps: Annotated[tuple[RecipeStep, ...], Field(min_length=1)]
    result: dict[str, str]
    serves: tuple[str, ...] = ()
    trial: Trial


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
