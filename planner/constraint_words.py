"""What the words of a constraint say about a plan: pure, English, no catalogue.

A constraint counts only if it says nothing more than what is understood: one that is
misread would refuse good plans. "No internet slang" bans no network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

# Longer ones are prose about the result, and matching stays quick.
MAX_CONSTRAINT = 300


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What one constraint rules out; all empty when it speaks of something else.

    Attributes:
        bans: what no step may use: ``model``, ``network``, ``code``, ``tools``.
        max_steps: how many steps there may be.
        only: the words that would name the only arms, if they name arms at all.
        without: the words that would name arms that must not be used.
        unused: the words that would name capabilities that must not be used.
    """

    bans: frozenset[str] = frozenset()
    max_steps: int | None = None
    only: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    unused: tuple[str, ...] = ()


@lru_cache(maxsize=1024)
def read(constraint: str) -> Reading:
    """Return what a constraint says about a plan."""
    if len(constraint) > MAX_CONSTRAINT:
        return Reading()
    without = _WITHOUT.fullmatch(constraint)
    # "No keywords" speaks of the result; "do not use keywords" of the plan.
    is_use = without is not None and without["use"] is not None
    return Reading(
        bans=frozenset(name for name, words in _BANS if words.search(constraint)),
        max_steps=_max_steps(constraint),
        only=_names(next(filter(None, (f.fullmatch(constraint) for f in _ONLY)), None)),
        without=_names(without),
        unused=_names(without) if is_use else (),
    )


_NEGATION = (
    r"\b(?:no|without|never|avoid|not|don['\u2019]?t|cannot|can['\u2019]?t)"
    r"(?:\s+(?:any|the|a|an|to|be|use|using|usage|of|access|accessing|make|making|call"
    r"|calling|out|external|outside|outbound|public|allow|allowed|go|going|on|rely"
    r"|relying|employ))*\s+"
)
# "No network or code execution": the second noun is ruled out as well.
_FIRST_NOUN = r"(?:[\w-]+(?:\s+[\w-]+)?(?:,|\s+(?:or|nor|and))\s+(?:any\s+|the\s+)?)?"
_END = (
    r"(?=\s*(?:$|[.,;:!?)]|(?:access|calls?|requests?|use|usage|connections?|traffic"
    r"|search(?:es)?|allowed|permitted|is|are|may|must|and|or|nor|at|please"
    r"|whatsoever|involved)\b))"
)
_FORBIDDEN = (
    r"(?:\s+(?:access|use|usage|calls?|requests?))?(?:\s+(?:is|are|must be|must|may))?\s+"
    r"(?:not\s+(?:be\s+)?(?:allowed|permitted|used)|forbidden|prohibited|disallowed"
    r"|banned|off[ -]limits)\b"
)


def _ban(nouns: str, *, further: str = "") -> re.Pattern[str]:
    """Return the pattern of "no NOUN" and "NOUN is forbidden"."""
    forms = [
        rf"{_NEGATION}{_FIRST_NOUN}(?:{nouns}){_END}",
        rf"\b(?:{nouns}){_FORBIDDEN}",
        further,
    ]
    return re.compile("|".join(filter(None, forms)), re.IGNORECASE)


_BANS = (
    (
        "model",
        _ban(
            r"(?:(?:large |small )?(?:language|ai|llm|ml|machine[ -]learning|generative)"
            r" )?models?|llms?|ai|artificial intelligence|generative ai|gpt"
        ),
    ),
    (
        "network",
        _ban(
            r"network|internet|web|https?|online services?|(?:external|outside) "
            r"(?:services?|apis?|requests?|calls?|network|sites?)",
            further=r"^\W*(?:please )?(?:work |run |stay |be |must (?:run|work|be) "
            r"|keep |do (?:it|this) )?(?:entirely |fully |completely |strictly )?"
            r"offline(?: only| mode)?\W*$",
        ),
    ),
    (
        "code",
        _ban(
            r"code execution|shell|(?:shell )?commands?|scripts?|subprocess(?:es)?"
            r"|(?:run|running|execute|executing|execution of) (?:any )?"
            r"(?:code|programs?|commands?|scripts?)"
        ),
    ),
    ("tools", _ban(r"(?:(?:external|outside|third[ -]party) )?tools?(?: calls?)?")),
)

_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
# The whole constraint: "explain it in at most 3 steps" speaks of the answer.
_STEP_LIMIT = re.compile(
    r"\W*(?:(?:please|the|a|plan|use|using|take|have|has|do|it|must|should|may|with|in"
    r"|work)\s+){0,5}"
    r"(?:(?P<most>at most|max(?:imum)?(?: of)?|no more than|not more than|up to)\s+"
    r"|(?P<fewer>fewer than|less than)\s+)?"
    rf"(?P<number>\d{{1,2}}|{'|'.join(_NUMBERS)}|ten|a single)\s+(?:plan(?:ning)? )?steps?"
    r"(?P<after> at most| or (?:fewer|less)| max(?:imum)?| only)?"
    r"(?: in (?:total|all)| in the plan)?\W*",
    re.IGNORECASE,
)
_LIST = r"(?P<names>[\w-]+(?:[\s,]+[\w-]+){0,7})"
_ONLY = tuple(
    re.compile(rf"\W*(?:please\s+)?{form}\W*", re.IGNORECASE)
    for form in (
        rf"(?:us(?:e|ing)\s+)?only\s+(?:use\s+)?{_LIST}",
        rf"us(?:e|ing)\s+{_LIST}\s+only",
        rf"{_LIST}\s+only",
    )
)
_WITHOUT = re.compile(
    r"\W*(?:please\s+)?(?:(?P<use>(?:never|do\s+not|don['\u2019]?t)\s+use"
    r"|avoid(?:\s+using)?|without\s+using)|without|no)\s+"
    rf"{_LIST}\W*",
    re.IGNORECASE,
)
_WORD = re.compile(r"[\w-]+")
_JOINERS = frozenset(("and", "or", "nor", "the", "any", "a", "an", "arm", "arms"))


def _names(match: re.Match[str] | None) -> tuple[str, ...]:
    if match is None:
        return ()
    words = (word.lower() for word in _WORD.findall(match["names"]))
    return tuple(word for word in words if word not in _JOINERS)


def _max_steps(constraint: str) -> int | None:
    match = _STEP_LIMIT.fullmatch(constraint)
    if match is None:
        return None
    bound = match["most"] or match["fewer"] or match["after"]
    number = match["number"].lower()
    if not bound and number != "a single":
        # "Use 4 steps" says neither at most nor at least.
        return None
    words = {word: count for count, word in enumerate((*_NUMBERS, "ten"), start=1)}
    limit = words.get(number) or (1 if number == "a single" else int(number))
    return limit - 1 if match["fewer"] else limit
