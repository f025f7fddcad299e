"""Texts that stand in the goal itself: “Summarise: …”, quotes, lists.

A plan refers to them as ``goal.texts``, always a list, and ``goal.texts.0``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from planner.goal_parts import read_part
from planner.words import words

#: The path under which a plan refers to them.
PATH = "goal.texts"
_LONGEST_INSTRUCTION = 500
# Shorter ones behind a blank line or a colon may belong to the instruction.
_LONG_TEXT = 200
_INLINE_WORDS = 6
_QUOTED_WORDS = 5

_BREAK = re.compile(r"(?P<colon>:)[ \t]*\n|\n[ \t]*\n|\n(?=[ \t]*[-*•][ \t])")
_COLON = re.compile(r":[ \t]+")
_BULLET = re.compile(r"^[ \t]*(?:[-*•]|\d{1,3}[.)])[ \t]+", re.MULTILINE)
_QUOTE = re.compile(r"\"([^\"]{2,})\"|“([^”]{2,})”")
_SENTENCE = re.compile(r"[.!?]\s*$")
_DATA = re.compile(r"[{\[]|[^\n]*[,;\t|][^\n]*\n[^\n]*[,;\t|]")


@dataclass(frozen=True, kw_only=True)
class GoalTexts:
    """A goal, cut into what is to be done and what with.

    Attributes:
        instruction: what is to be done; the whole goal when it brings no texts.
        texts: those it brings, in order.
        is_block: whether they plainly stand apart, so that they are meant even when
            there are others to work on.
    """

    instruction: str
    texts: tuple[str, ...] = ()
    is_block: bool = False


def texts_in(goal: str) -> GoalTexts:
    """Return the goal cut in two, or whole when it brings no texts."""
    return _behind_break(goal) or _behind_colon(goal) or _quoted(goal)


def _behind_break(goal: str) -> GoalTexts | None:
    """Cut at the first blank line, line that ends in a colon, or list."""
    found = _BREAK.search(goal)
    if found is None:
        return None
    head, rest = goal[: found.start()].strip(), goal[found.end() :].strip()
    if not _is_instruction(head) or not rest:
        return None
    is_plain = found["colon"] is not None or len(rest) >= _LONG_TEXT
    if not is_plain and read_part(rest.partition("\n")[0]).is_order:
        return None
    return GoalTexts(instruction=head, texts=_items(rest), is_block=is_plain)


def _behind_colon(goal: str) -> GoalTexts | None:
    """Cut at the first colon if a text or data stands behind it."""
    found = _COLON.search(goal)
    if found is None:
        return None
    head, rest = goal[: found.start()].strip(), goal[found.end() :].strip()
    is_text = len(words(rest)) >= _INLINE_WORDS or _QUOTE.match(rest)
    if not _is_instruction(head) or not (is_text or _DATA.match(rest)):
        return None
    return GoalTexts(instruction=head, texts=_items(rest))


def _quoted(goal: str) -> GoalTexts:
    """Take out quoted texts; a few quoted words are words to look for."""
    texts = tuple(quote for quote in _quotes(goal) if _is_text(quote))
    instruction = goal
    for text in texts:
        instruction = instruction.replace(text, "…")
    return GoalTexts(instruction=instruction, texts=texts)


def _is_instruction(head: str) -> bool:
    return bool(words(head)) and len(head) <= _LONGEST_INSTRUCTION


def _items(rest: str) -> tuple[str, ...]:
    """Return the members of a list or the quotes that a text consists of."""
    if len(_BULLET.findall(rest)) > 1 and _BULLET.match(rest):
        return tuple(item.strip() for item in _BULLET.split(rest) if item.strip())
    quotes = _quotes(rest)
    between = set(words(_QUOTE.sub(" ", rest)))
    return quotes if quotes and between <= {"and", "or"} else (rest,)


def _quotes(text: str) -> tuple[str, ...]:
    return tuple(one or other for one, other in _QUOTE.findall(text))


def _is_text(quote: str) -> bool:
    return len(words(quote)) >= _QUOTED_WORDS or (
        len(words(quote)) > 1 and _SENTENCE.search(quote) is not None
    )
