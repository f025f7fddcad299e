"""The words of a goal, brought to a common form; English."""

from __future__ import annotations

import re
from collections.abc import Iterable

_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*")
_BRITISH = re.compile(r"(?<=.{3}[iy])s(?=(?:e|ed|es|er|ing|ation|ations)$)")
_ENDINGS = ("ations", "ation", "ings", "ing", "ies", "ied", "ed", "es", "s", "e")
_VOWEL = re.compile(r"[aeiouy]")

NUMBERS = {"one": 1, "two": 2, "three": 3, "four": 4, "five": 5}
NUMBERS |= {"six": 6, "seven": 7, "eight": 8, "nine": 9, "ten": 10}
# They stand in any goal and tell nothing about it.
_SMALL_WORDS = frozenset("""
    a an the this that these those it its they them their there here of in on to for
    from with at as or and then also so i me my we us our you your is are was were be
    been am do does did has have had can could will would shall should may might must
    want need like please give any some all just very which what when where who
    """.split())  # noqa: SIM905  # reads better than a list


def words(text: str) -> list[str]:
    """Return the words of a text in lower case, in order."""
    return _WORD.findall(text.lower().replace("\u2019", "'"))


def root(word: str) -> str:
    """Return a common form of "analyse", "analyzing" and "analyzes".

    A crude stem: both sides of a comparison pass through it, so it need not be a
    word.
    """
    form = _BRITISH.sub("z", word.lower())
    if not form.endswith(("ss", "us", "is")):
        form = _without_ending(form)
    return form[:-1] + "i" if form.endswith("y") else form


def roots(text: str) -> list[str]:
    """Return the root of each word of a text, in order."""
    return [root(word) for word in words(text)]


def root_set(phrases: Iterable[str]) -> frozenset[str]:
    """Return the roots of all words of all phrases."""
    return frozenset(each for phrase in phrases for each in roots(phrase))


def telling_roots(text: str) -> list[str]:
    """Return the roots of the words that tell something, in order.

    Numbers tell how much and not what, so they are left out, too.
    """
    return [
        root(word)
        for word in words(text)
        if word not in _SMALL_WORDS and word not in NUMBERS and not word.isdecimal()
    ]


def _without_ending(form: str) -> str:
    for ending in _ENDINGS:
        stem = form.removesuffix(ending)
        if stem != form and len(stem) >= 3 and _VOWEL.search(stem):
            return stem + "i" if ending in ("ies", "ied") else stem
    return form
