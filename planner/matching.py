"""Which recipes fit a goal: a small sum of what its words have in common with them.

A phrase of a recipe is a whole fit, one of its subjects enough for one; verbs,
objects and a fitting context support. A goal is read in parts ("find the keywords
and summarise ..."), and a part that only a model can do rules out all recipes:
half of what was asked for is not done silently.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from planner.recipe import Fit, Recipe
from planner.words import root, root_set, roots, words

THRESHOLD = 0.6
PHRASE_SCORE, SUBJECT_SCORE, VERB_SCORE, OBJECT_SCORE = 1.0, 0.6, 0.3, 0.2

_PARTS = re.compile(r"[.,;:!?\n]+(?:\s|$)|\s(?:and|then|plus|as well as)\s", re.I)
_OPEN_ENDED_FILE = Path(__file__).resolve().parent / "open_ended.toml"


@dataclass(frozen=True, kw_only=True)
class Match:
    """What a goal's words say.

    Attributes:
        recipes: those that fit, in the order of the goal's parts; none if it is open.
        nearest: all recipes, the nearest first.
        open_part: the part that needs a model, empty if there is none.
    """

    recipes: tuple[Recipe, ...]
    nearest: tuple[Recipe, ...]
    open_part: str


@dataclass(frozen=True, kw_only=True)
class _Lexicon:
    """The roots of one recipe's words, made once."""

    subjects: frozenset[str]
    verbs: frozenset[str]
    objects: frozenset[str]
    excludes: frozenset[str]
    phrases: tuple[re.Pattern[str], ...]


def match_goal(
    goal: str, recipes: Sequence[Recipe], *, support: Callable[[Recipe], float]
) -> Match:
    """Return the recipes that fit ``goal``.

    Args:
        goal: in the caller's words, English.
        recipes: those to choose from.
        support: how much the context speaks for a recipe, 0.0 to 0.4; asked only
            where that counts.
    """
    parts = [part.strip() for part in _PARTS.split(goal) if part.strip()]
    parts = [part for part in parts if words(part)]
    affinities = {
        each.id: _affinity(each, part=goal, goal=goal, support=support)
        for each in recipes
    }
    nearest = tuple(sorted(recipes, key=lambda each: -affinities[each.id]))
    chosen: dict[str, Recipe] = {}
    for part in parts:
        best = _best(part, goal=goal, recipes=recipes, support=support)
        if best is not None:
            chosen[best.id] = best
        elif _is_open_ended(part):
            return Match(recipes=(), nearest=nearest, open_part=part)
    if not chosen:
        # Its words may be spread over the parts.
        whole = _best(goal, goal=goal, recipes=recipes, support=support)
        chosen = {whole.id: whole} if whole is not None else {}
    return Match(recipes=tuple(chosen.values()), nearest=nearest, open_part="")


def _best(
    part: str,
    *,
    goal: str,
    recipes: Sequence[Recipe],
    support: Callable[[Recipe], float],
) -> Recipe | None:
    scored = [
        (_affinity(each, part=part, goal=goal, support=support), each)
        for each in recipes
        if not _is_foreign(part, _lexicon(each.fit))
    ]
    score, best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return best if score >= THRESHOLD else None


def _affinity(
    recipe: Recipe, *, part: str, goal: str, support: Callable[[Recipe], float]
) -> float:
    """Return what a recipe and one part of a goal have in common, 0.0 to 2.5."""
    lexicon = _lexicon(recipe.fit)
    found = frozenset(roots(part))
    if lexicon.excludes & frozenset(roots(goal)):
        return 0.0
    text = " ".join(roots(part))
    score = PHRASE_SCORE * any(phrase.search(text) for phrase in lexicon.phrases)
    score += SUBJECT_SCORE * bool(lexicon.subjects & found)
    score += VERB_SCORE * bool(lexicon.verbs & found)
    score += OBJECT_SCORE * bool(lexicon.objects & found)
    if recipe.fit.counts_context and score > 0:
        score += support(recipe)
    return score


def _is_foreign(part: str, lexicon: _Lexicon) -> bool:
    """Tell whether a part begins with a verb that neither list nor recipe knows."""
    leading = _leading_words(part)
    return _is_open_ended(part) and root(leading[0]) not in lexicon.verbs


def _is_open_ended(part: str) -> bool:
    lists = _open_ended()
    leading = _leading_words(part)
    if not leading:
        return False
    first, following = leading[0], leading[1:2]
    if first in lists["verbs"] or first in lists["nouns"]:
        return True
    return first in lists["verbs_or_nouns"] and bool(
        lists["determiners"].intersection(following)
    )


def _leading_words(part: str) -> list[str]:
    """Return the words from the first on that is no filler."""
    found = words(part)
    fillers = _open_ended()["fillers"]
    while found and found[0] in fillers:
        found = found[1:]
    return found


@cache
def _open_ended() -> Mapping[str, frozenset[str]]:
    lists = tomllib.loads(_OPEN_ENDED_FILE.read_text())
    return {name: frozenset(entries) for name, entries in lists.items()}


@cache
def _lexicon(fit: Fit) -> _Lexicon:
    return _Lexicon(
        subjects=root_set(fit.subjects),
        verbs=root_set(fit.verbs),
        objects=root_set(fit.objects),
        excludes=root_set(fit.excludes),
        phrases=tuple(_pattern(phrase) for phrase in fit.phrases),
    )


def _pattern(phrase: str) -> re.Pattern[str]:
    """Compile a phrase over roots; a star stands for up to four words."""
    pieces = [" ".join(map(re.escape, roots(each))) for each in phrase.split("*")]
    return re.compile(r"\b" + r"(?: \S+){0,4} ".join(pieces) + r"\b")
