"""Whether two goals want the same: near by BM25, and the same in every telling word.

Nearness alone would take "disable" for "enable" and one quarter for another, so
nothing is run again by nearness; it only finds whom to compare.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

from planner.bm25 import Index
from planner.recipe import all_recipes
from planner.words import NUMBERS, root, words

# Left out wherever they stand, they change nothing.
_IDLE = frozenset("""
    a an the this these that those my our your their its please kindly is are be was
    were do does did me us for
    """.split())  # noqa: SIM905  # reads better than a list
# Left out at the beginning: "I want you to enable" is "enable".
_OPENING = frozenset("""
    please kindly can could would will you i we want need like to help let lets let's
    just now hi hello go ahead
    """.split())  # noqa: SIM905  # reads better than a list
_ALIKE = {"display": "show", "list": "show", "compute": "calculate", "per": "by"}
_NEGATED = re.compile(r"(?:n't|not)$")
_CAN = {"cannot": "not", "can't": "not", "dont": "not", "doesnt": "not"}
_QUOTE = re.compile(r"\"[^\"]*\"|“[^”]*”|'[^']{2,}'")


def exact_form(goal: str) -> tuple[str, ...]:
    """Return what two goals must have in common, in order, to want the same.

    Politeness, articles and inflection are left out; numbers, negations, quoted words
    and prepositions are not.
    """
    quoted = tuple(" ".join(quote.split()) for quote in _QUOTE.findall(goal))
    found = words(goal)
    start = next((i for i, word in enumerate(found) if word not in _OPENING), 0)
    plain = (_plain(word) for word in found[start:] if word not in _IDLE)
    return (*plain, *quoted)


def nearness(goal: str, others: Sequence[str]) -> list[float]:
    """Return for each other goal how near it is, 0.0 to 1.0, in words of both.

    The BM25 score of each goal for the other, as a share of its score for itself; the
    lesser of the two, so that a goal with one more wish is not the same.
    """
    if not others:
        return []
    forms = [exact_form(each) for each in (*others, goal)]
    # Among a few goals every word would seem rare or common by chance.
    index, last = Index([*forms, *_usual()]), len(others)
    forth = index.shares(forms[last])
    return [
        min(_ratio(score, forth[last]), _back(index, forms, place)) if score else 0.0
        for place, score in enumerate(forth[:last])
    ]


@cache
def _usual() -> tuple[tuple[str, ...], ...]:
    """Return goals that tell how common a word is: the recipes' examples."""
    examples = (goal for recipe in all_recipes() for goal in recipe.examples.fits)
    return tuple(map(exact_form, examples))


def _back(index: Index, forms: Sequence[tuple[str, ...]], place: int) -> float:
    return _ratio(
        index.share(forms[place], len(forms) - 1), index.share(forms[place], place)
    )


def _ratio(score: float, most: float) -> float:
    return min(1.0, score / most) if most else 0.0


def _plain(word: str) -> str:
    if word in _CAN or _NEGATED.search(word):
        return "not"
    if word in NUMBERS:
        return str(NUMBERS[word])
    return root(_ALIKE.get(word, word))
