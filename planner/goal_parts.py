"""What a goal asks for, part by part: commands, deliverables, negations.

“Find the keywords and write a report” has two parts, and the second opens with a
command that no recipe follows.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from pathlib import Path

from planner.words import root, root_set, roots, telling_roots, words

# A goal beyond either, apart from texts it brings, is a description for a model.
MAX_PARTS = 12
MAX_LENGTH = 2_000

_PARTS = re.compile(r"[.,;:!?\n]+(?:\s|$)|\s(?:and|then|plus|as well as)\s", re.I)
_LISTS_FILE = Path(__file__).resolve().parent / "open_ended.toml"
_ASKING = frozenset("""
    what what's which who whose where when how is are was were do does did has have any
    """.split())  # noqa: SIM905  # reads better than a list
_ARTICLES = frozenset({"a", "an"})
_DEFINITE = frozenset({"the", "it", "them", "this", "these", "that", "my", "our"})
_AMBIGUOUS = frozenset({"on", "with", "to"})
_PREPOSITIONS = frozenset({"with", "in", "for", "from", "by", "of", "at", "as", "per"})
# A command that no recipe knows.
ALTER = "to alter"


@dataclass(frozen=True, kw_only=True)
class Part:
    """One part of a goal, read once.

    Attributes:
        text: as it stands in the goal.
        joined: the roots of all its words, joined; phrases are looked for in it.
        telling: the roots that tell something, each once, in order.
        opening: the root of its first word that is no filler; empty for a question.
        commands: roots of what it orders to do or make; a recipe has to know each.
        is_open_ended: whether one of them is what mostly only a model can do.
        negations: words that turn a meaning around; a recipe has to know each.
        is_aside: whether it says how and not what, or only asks for the result.
    """

    text: str
    joined: str
    telling: tuple[str, ...]
    opening: str
    commands: frozenset[str]
    is_open_ended: bool
    negations: frozenset[str]
    is_aside: bool

    @property
    def is_order(self) -> bool:
        """Whether something goes undone when no recipe takes this part."""
        return bool(self.commands or self.negations) and not self.is_aside


def parts_of(goal: str) -> list[Part]:
    """Return the parts of a goal in order, each once."""
    texts = (piece.strip() for piece in _PARTS.split(goal))
    return [read_part(text) for text in dict.fromkeys(texts) if words(text)]


def read_part(text: str) -> Part:
    """Read one part, or a whole goal as if it were one."""
    found = words(text)
    telling = tuple(dict.fromkeys(telling_roots(text)))
    commands = frozenset(_commands(found))
    return Part(
        text=text,
        joined=" ".join(roots(text)),
        telling=telling,
        opening=_opening(found),
        commands=commands,
        is_open_ended=not commands.isdisjoint(_open_ended()),
        negations=_lists()["negations"].intersection(found),
        is_aside=_is_aside(found, telling),
    )


def beyond_recipes(joined: str) -> frozenset[str]:
    """Return the words and phrases that name what no recipe gives, as roots."""
    padded = f" {joined} "
    return frozenset(each for each in _beyond() if f" {each} " in padded)


def neutral_commands() -> frozenset[str]:
    """Return the roots of commands that every recipe knows."""
    return _neutral()


def _opening(found: Sequence[str]) -> str:
    first = next((word for word in found if word not in _lists()["fillers"]), "")
    return "" if first in _ASKING else root(first)


def _commands(found: Sequence[str]) -> Iterator[str]:
    lists = _lists()
    start = next((i for i, w in enumerate(found) if w not in lists["fillers"]), None)
    if start is None:
        return
    following = found[start + 1] if start + 1 < len(found) else ""
    # "With their totals" orders nothing, "with their meaning explained" does.
    is_adjunct = found[start] in _PREPOSITIONS and _open_ended().isdisjoint(
        map(root, found)
    )
    if not is_adjunct and _opens_an_order(found[start], following):
        yield root(found[start])
    for before, word in pairwise(found):
        if before == "to" and word in lists["verbs"]:
            yield root(word)
        if before == "make" and word in _DEFINITE:
            # "Make the text longer" wants it changed, "make a summary" does not.
            yield ALTER
    # "a funny poem": what is wanted stands within two words of its article.
    for place, word in enumerate(found):
        if word in lists["nouns"] and _ARTICLES.intersection(found[:place][-2:]):
            yield root(word)


def _opens_an_order(first: str, following: str) -> bool:
    lists = _lists()
    if first in _ASKING:
        return False
    if first in lists["verbs"] or first in lists["nouns"] or first in lists["neutral"]:
        return True
    if following not in lists["determiners"]:
        return False
    # An unknown word before "the" is a verb, too: "alphabetise the list". Before "on"
    # it may be a noun: "customers on the list".
    return first in lists["verbs_or_nouns"] or following not in _AMBIGUOUS


def _is_aside(found: Sequence[str], telling: Sequence[str]) -> bool:
    lists = _lists()
    text = " ".join(found)
    if any(text == each or text.startswith(f"{each} ") for each in lists["settings"]):
        return True
    return bool(telling) and _outcomes().issuperset(telling)


@cache
def _lists() -> Mapping[str, frozenset[str]]:
    lists = tomllib.loads(_LISTS_FILE.read_text())
    return {name: frozenset(entries) for name, entries in lists.items()}


@cache
def _open_ended() -> frozenset[str]:
    lists = _lists()
    return (root_set(lists["verbs"] | lists["nouns"]) | {ALTER}) - _neutral()


@cache
def _neutral() -> frozenset[str]:
    return root_set(_lists()["neutral"])


@cache
def _outcomes() -> frozenset[str]:
    return _neutral() | root_set(_lists()["outcomes"])


@cache
def _beyond() -> frozenset[str]:
    return frozenset(" ".join(roots(each)) for each in _lists()["beyond"])
