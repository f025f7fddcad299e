"""How many tokens a text may have, before a provider has counted them.

No count by a provider's own tokenizer can be had for every model, and the only proven
bound, a token per byte, is four times what English takes. So the bytes are weighed by
kind. Source of the weights: measured on the tokenizers of GPT-4 and GPT-4o, Claude 2,
Mistral 7B and Mistral NeMo; `docs/budgets.md` has the figures. They cover prose, code,
JSON, tables and most languages on all five; what exceeds them, random letters above
all, is settled at its true count and told as an overrun.
"""

from __future__ import annotations

import math
import string
from typing import Final

# Tokens for each byte of a kind. A letter beyond ASCII is counted by its first byte in
# UTF-8, which tells its script; the bytes that follow are free.
_WEIGHTS: Final[tuple[tuple[bytes, float], ...]] = (
    (string.ascii_letters.encode(), 2 / 7),
    # Several tokenizers take digits one by one.
    (string.digits.encode(), 1.0),
    (string.punctuation.encode(), 0.75),
    # One is part of the word that follows; a run of them is a token.
    (b" ", 1 / 16),
    (b"\t\n\r", 1.0),
    # An accented Latin letter splits its word.
    (bytes(range(0xC2, 0xCA)), 2.0),
    (bytes(range(0xCA, 0xD0)), 1.25),  # Greek
    (bytes(range(0xD0, 0xD4)), 0.6),  # Cyrillic
    (bytes(range(0xD4, 0xE0)), 1.1),  # Hebrew, Arabic
    (bytes(range(0xE0, 0xE3)), 1.75),  # of India, Thai, Vietnamese, signs
    (bytes(range(0xE3, 0xF0)), 1.3),  # of China, Japan and Korea
    (bytes(range(0xF0, 0xF8)), 3.0),  # emoji
)


def estimate_tokens(text: str) -> int:
    """Return a careful estimate of how many tokens a model makes of a text."""
    rest, tokens = text.encode(errors="replace"), 0.0
    for kind, weight in _WEIGHTS:
        shorter = rest.translate(None, kind)
        tokens += weight * (len(rest) - len(shorter))
        rest = shorter
    return math.ceil(tokens)
