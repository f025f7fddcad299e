"""The words of an attack and some around it, for the person who judges the rule.

Values are concealed by their types: an excerpt names nobody. Of a value there is none.
At rest it is sealed by the settings' vault keys, so that no row holds what was refused.
"""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.fernet import InvalidToken
from django.conf import settings

from octollm.errors import VaultError
from reflex.found import Found
from reflex.rules import ASSIGN, END
from reflex.texts import DocumentText
from reflex.vault import settings_fernet

# In code points: of the attack itself, and of what stands on either side.
_MATCH = 160
_AROUND = 60
_MARKS = "«", "»"


def excerpt(texts: DocumentText, attack: Found, values: Sequence[Found]) -> str:
    """Return the attack between « and » with what stands around it in its own text.

    ``values`` are those of the whole document, by position. Empty for a value, and
    where the settings want no excerpts.
    """
    if attack.is_value or not settings.OCTOLLM_REFLEX_EXCERPTS:
        return ""
    text = texts.text
    first = max(0, attack.start - _AROUND)
    for mark in (END, ASSIGN):
        first = max(first, text.rfind(mark, first, attack.start) + 1)
    end = min(attack.end, attack.start + _MATCH)
    last = min(len(text), end + _AROUND)
    closed = text.find(END, end, last)
    last = closed if closed >= 0 else last
    near = [v for v in values if v.start < last and v.end > first]
    parts = (
        _concealed(text, first, attack.start, near),
        _MARKS[0],
        _concealed(text, attack.start, end, near),
        "…" if end < attack.end else "",
        _MARKS[1],
        _concealed(text, end, last, near),
    )
    return "".join(parts).translate(_UNPRINTABLE)


def seal(words: str) -> str:
    """Return an excerpt as a row may hold it; empty if it is, or cannot be sealed."""
    if not words:
        return ""
    try:
        return settings_fernet().encrypt(words.encode()).decode()
    except VaultError:
        # That texts are screened and decisions kept must not hang on this.
        return ""


def unseal(sealed: str) -> str:
    """Return the excerpt in a row; a word for one whose key is not set any more."""
    if not sealed:
        return ""
    try:
        return settings_fernet().decrypt(sealed).decode()
    except (InvalidToken, VaultError):
        return "(sealed by a key that is gone)"


def _concealed(text: str, start: int, end: int, values: Sequence[Found]) -> str:
    parts: list[str] = []
    position = start
    for value in values:
        if value.start < end and value.end > position:
            parts += (text[position : max(position, value.start)], f"[{value.type}]")
            position = min(end, value.end)
    return "".join((*parts, text[position:end]))


# What PostgreSQL cannot keep or a page would not show as it is.
_UNPRINTABLE = dict.fromkeys(range(32), " ") | dict.fromkeys(
    (*range(0x7F, 0xA0), *range(0x202A, 0x202F), *range(0x2066, 0x206A)), " "
)
_UNPRINTABLE |= dict.fromkeys(range(0xD800, 0xE000), "\ufffd")
