"""One character for another: what reads like ASCII becomes ASCII, offsets stay.

Accents, full-width forms, curly quotes, small capitals and look-alike letters of
other scripts hide a word from a pattern but not from a reader. Patterns are folded
as the texts are, so that one way of writing stands for all.
"""

# ruff: noqa: RUF001 - characters that look alike are the subject

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

# Cyrillic, Greek and others by the Latin letters they look like. Source: the
# confusables of Unicode Technical Standard 39, those a reader takes for the letter.
_LOOK_ALIKES = dict(
    zip(
        "аеорсухіјѕһԁԛԝӏѵкмтнвгпии" "οαεανικρτυχηωγσβδθμπλ" "օսոցզհյլեք",
        "aeopcyxijshdqwlvkmthbrnuu" "oaeavikptuxnwyobdomnl" "ouugqhjlep",
        strict=True,
    )
)
_LETTERS_BY_SHAPE = {
    "ɑ": "a", "ʙ": "b", "ᴄ": "c", "ᴅ": "d", "ᴇ": "e", "ꜰ": "f", "ɢ": "g", "ɡ": "g",
    "ʜ": "h", "ɪ": "i", "ı": "i", "ɩ": "i", "ᴊ": "j", "ᴋ": "k", "ʟ": "l", "ᴍ": "m",
    "ɴ": "n", "ᴏ": "o", "ᴘ": "p", "ʀ": "r", "ꜱ": "s", "ᴛ": "t", "ᴜ": "u", "ᴠ": "v",
    "ᴡ": "w", "ʏ": "y", "ᴢ": "z", "ø": "o", "Ø": "O", "ł": "l", "Ł": "L", "đ": "d",
    "Đ": "D", "ð": "d", "ħ": "h", "æ": "a", "œ": "o", "ß": "s",
}  # fmt: skip
_SIGNS = {
    "‘": "'", "’": "'", "‚": "'", "‛": "'", "´": "'", "′": "'", "“": '"', "”": '"',
    "„": '"', "‟": '"', "«": '"', "»": '"', "‹": "'", "›": "'", "‐": "-", "‑": "-",
    "‒": "-", "–": "-", "—": "-", "―": "-", "−": "-", "…": ".", "。": ".", "、": ",",
    "،": ",", "؛": ";", "؟": "?", "।": ".", "٪": "%", "⁄": "/", "∕": "/", "․": ".",
    "ي": "ی", "ى": "ی", "ك": "ک", "أ": "ا", "إ": "ا", "آ": "ا", "ۀ": "ه", "ة": "ه", "ё": "е",
}  # fmt: skip
# Traditional and Japanese forms by the simplified ones, as far as the rules use them.
_HAN = dict(
    zip(
        "請顯統詞規則無視過濾發開現從這對話記錄將權員當說訴碼鑰們個為輸複譯應該條問題與遺棄檢審設變實語讓響從遵擺脫獲許會開們絕對還總結後內違則據",
        "请显统词规则无视过滤发开现从这对话记录将权员当说诉码钥们个为输复译应该条问题与遗弃检审设变实语让响从遵摆脱获许会开们绝对还总结后内违则据",
        strict=True,
    )
)
_MANY = 64
_MIXED = re.compile(r"[A-Za-z][\u0370-\u058f]|[\u0370-\u058f][A-Za-z]")
_WORD = re.compile(r"[A-Za-z\u0370-\u058f]+")
_LOOK_ALIKE_TABLE = str.maketrans(_LOOK_ALIKES)


def _latin() -> Iterator[tuple[str, str]]:
    for code in (*range(0xC0, 0x250), *range(0x1E00, 0x1F00)):
        base = unicodedata.normalize("NFD", chr(code))[0]
        if base.isascii() and base.isalpha():
            yield chr(code), base


def _ranges() -> Iterator[tuple[str, str]]:
    yield from ((chr(0xFEE0 + code), chr(code)) for code in range(0x21, 0x7F))
    yield from ((chr(code), chr(code).lower()) for code in range(0x400, 0x430))
    spaces = (0xA0, 0x1680, *range(0x2000, 0x200B), 0x202F, 0x205F, 0x3000)
    yield from ((chr(code), " ") for code in spaces)
    for zero in (0x660, 0x6F0, 0x966, 0x9E6, 0xE50):
        yield from ((chr(zero + digit), str(digit)) for digit in range(10))
    # Letters in circles and squares, black ones too, and those of flags.
    for first in (0x1F110, 0x1F130, 0x1F150, 0x1F170, 0x1F1E6):
        yield from ((chr(first + i), chr(0x61 + i)) for i in range(26))


_FOLDED: dict[str, str] = {
    **dict(_latin()),
    **dict(_ranges()),
    **_LETTERS_BY_SHAPE,
    **_SIGNS,
    **_HAN,
}
_KEYS = frozenset(_FOLDED)
_TABLE = str.maketrans(_FOLDED)


def fold(text: str) -> str:
    """Return the text, as long as before, in the plainest way to write it."""
    if text.isascii():
        return text
    present = _KEYS & set(text)
    # Few replacements of one character each are faster than one of all.
    if len(present) > _MANY:
        text = text.translate(_TABLE)
    else:
        for character in present:
            text = text.replace(character, _FOLDED[character])
    if _MIXED.search(text):
        text = _WORD.sub(_unmixed, text)
    return text


def _unmixed(word: re.Match[str]) -> str:
    """Return a word of two scripts in the one that its letters look like."""
    letters = word.group()
    return letters.translate(_LOOK_ALIKE_TABLE) if _MIXED.search(letters) else letters
