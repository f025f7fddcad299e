"""Which recipes fit a goal: BM25 over what each recipe says it is for.

A recipe's document is its title, its words and its example goals. A goal is read in
parts ("find the keywords and summarise ..."); a part goes to the recipe that accounts
for the largest share of it, if that share reaches the threshold of calibration.toml.
A part that gives an order no recipe follows rules out all of them: half of what was
asked for is not done silently.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache

from planner.bm25 import Index
from planner.calibration import calibration
from planner.goal_parts import (
    MAX_LENGTH,
    MAX_PARTS,
    Part,
    beyond_recipes,
    neutral_commands,
    parts_of,
    read_part,
)
from planner.recipe import Fit, Need, Recipe, all_recipes
from planner.words import NUMBERS, root, root_set, roots, telling_roots, words

# A phrase or subject of a recipe, beside the share that BM25 gives.
PHRASE_WEIGHT = 0.3
# What a recipe works on is there; decides between recipes that fit alike.
PRESENT_WEIGHT = 0.1


@dataclass(frozen=True, kw_only=True)
class Given:
    """What a goal has at hand.

    Attributes:
        needs: what there is to work on.
        names: roots of what the context calls its members and columns.
        is_brought: whether the goal brings it: one word before a text may be enough.
    """

    needs: frozenset[Need] = frozenset()
    names: frozenset[str] = frozenset()
    is_brought: bool = False


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
class _Entry:
    """What one recipe knows, made once.

    Attributes:
        document: the telling roots of all it says, for the index.
        commands: roots of orders it follows.
        vocabulary: the roots of all its words.
        spelling: all its words as they are written.
        capabilities: what its steps use.
        change: the root of what it does to what later recipes work on, if anything.
        phrases: finds one of its phrases or subjects.
        excludes: finds what rules it out.
    """

    recipe: Recipe
    document: tuple[str, ...]
    commands: frozenset[str]
    vocabulary: frozenset[str]
    spelling: frozenset[str]
    capabilities: frozenset[str]
    change: str
    phrases: re.Pattern[str]
    excludes: re.Pattern[str]

    def takes(self, part: Part) -> bool:
        """Tell whether nothing in a part speaks against the recipe."""
        return (
            self.commands >= part.commands
            # What another recipe does is no fit for one that never speaks of it.
            and (part.opening not in _verbs() or part.opening in self.vocabulary)
            # "Not" turns a meaning around unless the recipe itself speaks of it.
            and self.spelling >= part.negations
            and self.excludes.search(part.joined) is None
        )


def match_goal(goal: str, *, given: Given, threshold: float | None = None) -> Match:
    """Return the recipes that fit ``goal``.

    Args:
        goal: in the caller's words, English.
        given: what there is to work on.
        threshold: least score of a fit; the calibrated one if unset.
    """
    least = calibration().recipes if threshold is None else threshold
    whole = read_part(goal)
    parts = parts_of(goal) if len(goal) <= MAX_LENGTH else []
    scores = _Scores(whole, given)
    chosen: list[_Entry] = []
    undone: Part | None = None
    if 0 < len(parts) <= MAX_PARTS:
        chosen, undone = _by_parts(parts, scores, least=least)
        # Its words may be spread over the parts, or one recipe does all of them.
        only = scores.best(whole, least=least)
        if only is not None and _does_all(only, chosen, undone, parts):
            chosen, undone = [only], None
    if chosen and _is_change_left_out(whole, chosen):
        undone = whole
    return Match(
        recipes=() if undone else tuple(entry.recipe for entry in chosen),
        nearest=tuple(entry.recipe for entry in scores.ranked(whole)),
        open_part=undone.text if undone else "",
    )


def _is_change_left_out(whole: Part, chosen: Sequence[_Entry]) -> bool:
    """Tell whether a goal speaks of a change that none of the chosen recipes makes.

    "Summarise only the redacted letters": of the letters as they are would be wrong.
    """
    said = frozenset(whole.joined.split())
    known = frozenset[str]().union(*(entry.vocabulary for entry in chosen))
    return any(entry.change in said - known for entry in _entries())


def _by_parts(
    parts: Sequence[Part], scores: _Scores, *, least: float
) -> tuple[list[_Entry], Part | None]:
    """Return the recipes that take the parts, and the first order that none takes."""
    chosen: list[_Entry] = []
    undone = None
    for part in parts:
        if chosen and (part.is_aside or _points_back(part, chosen[-1])):
            continue
        best = scores.best(part, least=least)
        if best is None:
            undone = undone or (part if _is_order(part) else None)
        elif best not in chosen and (not chosen or _asks(best, part)):
            chosen.append(best)
    return chosen, undone


def _does_all(
    only: _Entry, chosen: Sequence[_Entry], undone: Part | None, parts: Sequence[Part]
) -> bool:
    """Tell whether a recipe that fits the whole goal does what its parts ask."""
    if undone is not None:
        # "Join orders and customers on id": the other parts order nothing.
        return not any(_is_order(part) for part in parts if part is not undone)
    wanted = {name for entry in chosen for name in entry.capabilities}
    return len(chosen) != 1 and only.capabilities >= wanted


def near_recipes(goal: str) -> tuple[Recipe, ...]:
    """Return the recipes that fit a goal read as one part, ruled out or not."""
    whole = read_part(goal)
    shares = _index().shares(whole.telling)
    scored = [
        (_score(entry, whole, share), entry.recipe)
        for entry, share in zip(_entries(), shares, strict=True)
    ]
    near = [pair for pair in scored if pair[0] >= calibration().recipes]
    return tuple(recipe for _, recipe in sorted(near, key=lambda pair: -pair[0]))


def document_of(recipe: Recipe) -> tuple[str, ...]:
    """Return the telling roots of all that a recipe says it is for."""
    return tuple(each for text in _said(recipe) for each in telling_roots(text))


class _Scores:
    """The recipes that one goal does not rule out, compared with its parts."""

    def __init__(self, whole: Part, given: Given) -> None:
        beyond = beyond_recipes(whole.joined)
        self._given = given
        self._open = [
            all(entry.vocabulary.issuperset(each.split()) for each in beyond)
            for entry in _entries()
        ]

    def best(self, part: Part, *, least: float) -> _Entry | None:
        """Return the recipe that fits a part best, if any fits well enough."""
        fitting = [pair for pair in self.of(part) if pair[0] >= least]
        present = self._given.needs
        return max(
            fitting,
            key=lambda pair: pair[0]
            + PRESENT_WEIGHT * (pair[1].recipe.needs in present),
            default=(0.0, None),
        )[1]

    def of(self, part: Part) -> list[tuple[float, _Entry]]:
        """Return the score, 0.0 to 1.0, of each recipe that knows the part's orders."""
        # What the context calls something needs no recipe to account for it.
        query = [each for each in part.telling if each not in self._given.names]
        shares = _index().shares(query or part.telling)
        return [
            (_score(entry, part, share, is_brief=self._given.is_brought), entry)
            for entry, share, is_open in zip(
                _entries(), shares, self._open, strict=True
            )
            if is_open and entry.takes(part)
        ]

    def ranked(self, part: Part) -> list[_Entry]:
        """Return all recipes, the nearest first."""
        shares = _index().shares(part.telling)
        order = sorted(zip(shares, range(len(shares)), strict=True), key=_by_share)
        return [_entries()[place] for _, place in order]


def _by_share(pair: tuple[float, int]) -> tuple[float, int]:
    return -pair[0], pair[1]


def _score(entry: _Entry, part: Part, share: float, *, is_brief: bool = False) -> float:
    has_phrase = entry.phrases.search(part.joined) is not None
    if not share or (part.is_open_ended and not has_phrase):
        # "Write" is followed where a phrase says so: a summary, and not a report.
        return 0.0
    if len(part.telling) < 2 and not (has_phrase or is_brief):
        # "Count on me": one word says enough only if it is a subject.
        share /= 2
    return (1 - PHRASE_WEIGHT) * share + PHRASE_WEIGHT * has_phrase


def _points_back(part: Part, last: _Entry) -> bool:
    """Tell whether a part asks no more than the one before: "... and remove them"."""
    return (
        part.commands.issuperset(part.telling)
        and last.commands >= part.commands
        and not part.negations
    )


def _asks(entry: _Entry, part: Part) -> bool:
    """Tell whether a later part asks for something of its own."""
    return _is_order(part) or entry.phrases.search(part.joined) is not None


def _is_order(part: Part) -> bool:
    return part.is_order or (part.opening in _verbs() and not part.is_aside)


@cache
def _verbs() -> frozenset[str]:
    """Return what any recipe does, as roots."""
    every = root_set(verb for recipe in all_recipes() for verb in recipe.fit.verbs)
    return every - neutral_commands()


@cache
def _entries() -> tuple[_Entry, ...]:
    return tuple(map(_entry, all_recipes()))


@cache
def _index() -> Index:
    return Index(entry.document for entry in _entries())


def _entry(recipe: Recipe) -> _Entry:
    fit, said = recipe.fit, _said(recipe)
    return _Entry(
        recipe=recipe,
        document=document_of(recipe),
        commands=root_set((*fit.verbs, *fit.subjects))
        | _first_roots(recipe.examples.fits)
        | (_first_roots(_phrases(fit)) & _verbs())
        | neutral_commands(),
        vocabulary=root_set(said),
        spelling=frozenset(word for text in said for word in words(text)),
        capabilities=frozenset(step.capability for step in recipe.steps),
        change=root(recipe.id.partition("_")[0]) if recipe.gives else "",
        phrases=_finder((*fit.phrases, *fit.subjects)),
        excludes=_finder(fit.excludes),
    )


def _first_roots(texts: Iterable[str]) -> frozenset[str]:
    return frozenset(first for text in texts for first in roots(text)[:1])


def _said(recipe: Recipe) -> tuple[str, ...]:
    fit = recipe.fit
    words_of_fit = (*fit.subjects, *fit.verbs, *fit.objects, *_phrases(fit))
    return (recipe.title, *words_of_fit, *recipe.examples.fits)


def _phrases(fit: Fit) -> list[str]:
    return [each for phrase in fit.phrases for each in _spelt_out(phrase)]


def _spelt_out(phrase: str) -> list[str]:
    """Return the texts in which each word of a phrase stands once."""
    columns = [piece.split("|") for piece in phrase.split()]
    longest = max(map(len, columns))
    rows = [
        " ".join(column[min(row, len(column) - 1)] for column in columns)
        for row in range(longest)
    ]
    return [row.replace("*", " ").replace("{n}", " ") for row in rows]


def _finder(phrases: Sequence[str]) -> re.Pattern[str]:
    """Compile phrases over joined roots into one pattern, which finds any of them."""
    either = "|".join(map(_pattern, phrases)) or r"(?!)"
    return re.compile(rf"(?<!\S)(?:{either})(?!\S)")


def _pattern(phrase: str) -> str:
    """Return the pattern of a phrase: words, a|b, {n} and * for up to four words."""
    pattern = ""
    for word in phrase.split():
        if word == "*":
            pattern += r"(?:\S+ ){0,4}"
        elif word == "{n}":
            pattern += rf"(?:\d+|{'|'.join(map(root, NUMBERS))}) "
        else:
            forms = (" ".join(roots(each)) for each in word.split("|"))
            pattern += "(?:" + "|".join(map(re.escape, forms)) + ") "
    return pattern.removesuffix(" ")
