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


@dataclass(frozen=True, kw_only=True)
class _Part:
    """One part of a goal, read once.

    Attributes:
        text: its roots, joined; phrases are looked for in it.
        opening: the root of the word that only a model can follow, or empty.
    """

    words: str
    text: str
    roots: frozenset[str]
    opening: str


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
    whole = _read(goal)
    fitting = [
        each for each in recipes if not _lexicon(each.fit).excludes & whole.roots
    ]
    weights = {each.id: support(each) for each in fitting if each.fit.counts_context}
    affinities = {each.id: _affinity(each, whole, weights) for each in fitting}
    nearest = tuple(sorted(recipes, key=lambda each: -affinities.get(each.id, 0.0)))
    chosen: dict[str, Recipe] = {}
    for part in map(_read, _parts(goal)):
        best = _best(part, fitting, weights)
        if best is not None:
            chosen[best.id] = best
        elif part.opening:
            return Match(recipes=(), nearest=nearest, open_part=part.words)
    if not chosen:
        # Its words may be spread over the parts.
        only = _best(whole, fitting, weights)
        chosen = {only.id: only} if only is not None else {}
    return Match(recipes=tuple(chosen.values()), nearest=nearest, open_part="")


def _parts(goal: str) -> list[str]:
    """Return the parts of a goal in order, each once."""
    parts = (part.strip() for part in _PARTS.split(goal))
    return list(dict.fromkeys(part for part in parts if words(part)))


def _read(part: str) -> _Part:
    found = roots(part)
    return _Part(
        words=part,
        text=" ".join(found),
        roots=frozenset(found),
        opening=_opening(words(part)),
    )


def _best(
    part: _Part, recipes: Sequence[Recipe], weights: Mapping[str, float]
) -> Recipe | None:
    scored = [
        (_affinity(each, part, weights), each)
        for each in recipes
        # A part that begins with "write" is for a recipe only if that knows "write".
        if not part.opening or part.opening in _lexicon(each.fit).verbs
    ]
    score, best = max(scored, key=lambda pair: pair[0], default=(0.0, None))
    return best if score >= THRESHOLD else None


def _affinity(recipe: Recipe, part: _Part, weights: Mapping[str, float]) -> float:
    """Return what a recipe and one part of a goal have in common, 0.0 to 2.5."""
    lexicon = _lexicon(recipe.fit)
    score = SUBJECT_SCORE * bool(lexicon.subjects & part.roots)
    score += VERB_SCORE * bool(lexicon.verbs & part.roots)
    score += OBJECT_SCORE * bool(lexicon.objects & part.roots)
    score += PHRASE_SCORE * any(each.search(part.text) for each in lexicon.phrases)
    return score + weights.get(recipe.id, 0.0) if score else 0.0


def _opening(found: Sequence[str]) -> str:
    """Return the root of the open-ended word that the words begin with, or nothing."""
    lists = _open_ended()
    start = next((i for i, w in enumerate(found) if w not in lists["fillers"]), None)
    if start is None:
        return ""
    first, following = found[start], found[start + 1 : start + 2]
    is_verb = first in lists["verbs_or_nouns"] and bool(
        lists["determiners"].intersection(following)
    )
    is_open = is_verb or first in lists["verbs"] or first in lists["nouns"]
    return root(first) if is_open else ""


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
