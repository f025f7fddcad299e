"""Placeholders: how a concealed value is written, such as ``[EMAIL_1]``.

A task's own are ``[EMAIL_1]``; those of an owner's documents carry a K, as in
``[EMAIL_K1]``, so both can stand in one text.
"""

from __future__ import annotations

import re

# Bounded, so that reading a hostile text stays linear.
PLACEHOLDER = re.compile(r"\[([A-Z][A-Z_]{0,30})_(K?)([1-9][0-9]{0,8})\]", re.ASCII)
KNOWLEDGE_PREFIX = "K"
# Text from outside that looks like a placeholder; concealed, shown to everybody.
LITERAL = "LITERAL"


def placeholder(value_type: str, number: int, *, prefix: str = "") -> str:
    """Return the placeholder of the ``number``-th value of its type."""
    return f"[{value_type}_{prefix}{number}]"


def has_placeholder(text: str) -> bool:
    """Return whether anything in ``text`` has the shape of a placeholder."""
    return "[" in text and PLACEHOLDER.search(text) is not None
