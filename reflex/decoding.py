"""Texts within a text: what base64, hex, URLs, entities, markup or rot13 hide.

Each reading is made only when its gate, a cheap pattern among those of the rules,
was seen, and out of a bounded number of bytes. A span in a reading stands for the
whole encoded stretch of the original.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import re
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from reflex.folding import fold
from reflex.normalize import Builder, NormalizedText, same_places

_MAX_STRETCHES = 64
_MAX_DECODED = 20_000
_SHORTEST = 8


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A text as one may read it.

    Attributes:
        name: how it was made, such as ``decoded``.
        has_values: whether personal data in it counts; in letters moved about it
            would be chance.
    """

    name: str
    text: NormalizedText
    has_values: bool = True


def readings(text: str, gates: Collection[str]) -> Iterator[Reading]:
    """Yield the readings of a text whose gates were seen."""
    if not _ENCODINGS.keys().isdisjoint(gates):
        decoded = _decoded(text, gates)
        if decoded is not None:
            yield Reading(name="decoded", text=decoded)
    for gate, (name, reading) in _SPELLINGS.items():
        if gate in gates:
            spelled = reading(text)
            if spelled is not None:
                yield Reading(name=name, text=spelled, has_values=False)


# Encodings ------------------------------------------------------------------------------


def _printable(content: bytes) -> str | None:
    """Return the bytes as text, if they are one."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        return None
    if (
        len(text) < _SHORTEST
        or not text.replace("\n", "").replace("\t", "").replace("\r", "").isprintable()
    ):
        return None
    return fold(text)


def _base64(run: str) -> str | None:
    run = run.rstrip("=").translate(_URL_SAFE)
    # One sign too many, such as a full stop of another alphabet, is cut off.
    run = run[:-1] if len(run) % 4 == 1 else run
    try:
        return _printable(base64.b64decode(run + "=" * (-len(run) % 4)))
    except binascii.Error:
        return None


def _hex(run: str) -> str | None:
    digits = _NO_HEX.sub("", run.replace("0x", "").replace("\\x", ""))
    return _printable(bytes.fromhex(digits[: len(digits) // 2 * 2]))


def _url(run: str) -> str | None:
    content = unquote_to_bytes(run)
    text = content.decode("utf-8", "replace")
    return None if "\ufffd" in text else fold(text.replace("+", " "))


def _entity(run: str) -> str | None:
    return fold(html.unescape(run)).replace("\x00", "").replace("\x1f", "")


def _escape(run: str) -> str | None:
    code = int(run[2:], 16)
    return chr(code) if code >= 0x20 and not 0xD800 <= code < 0xE000 else None


def _markup(run: str) -> str | None:
    """Drop marks; of a link its text stays. What was dropped was read before."""
    return run[1 : run.index("](")] if run.startswith("[") else ""


_URL_SAFE = str.maketrans("-_", "+/")
_NO_HEX = re.compile(r"[^0-9A-Fa-f]")
# Gate: (what it is, how it is read).
_ENCODINGS: dict[str, tuple[str, Callable[[str], str | None]]] = {
    "hex": (
        r"(?:(?:\\x|0x)[0-9A-Fa-f]{2}[ ,;]{0,2}){5,4000}(?:\\x|0x)[0-9A-Fa-f]{2}"
        r"|\b(?:[0-9A-Fa-f]{2}[ :]?){9,4000}[0-9A-Fa-f]{2}\b",
        _hex,
    ),
    "base64": (r"[A-Za-z0-9+/_-]{20,8000}={0,2}", _base64),
    "url": (r"(?:[\w.~+-]{0,40}%[0-9A-Fa-f]{2}){2,400}[\w.~+-]{0,40}", _url),
    "entity": (r"&(?:#[0-9]{2,7}|#x[0-9A-Fa-f]{2,6}|[A-Za-z]{2,8});", _entity),
    "escape": (r"\\u[0-9A-Fa-f]{4}", _escape),
    "markup": (
        r"<!--[^>\x00]{0,200}-->|</?[A-Za-z][^<>\x00]{0,80}>|\*{1,3}(?=\w)|(?<=\w)\*{1,3}"
        r"|\[[^\]\[\x00\n]{1,80}\]\([^)\x00\n ]{0,200}\)",
        _markup,
    ),
}
_PATTERNS = {
    gate: re.compile(pattern, re.ASCII) for gate, (pattern, _) in _ENCODINGS.items()
}


def _decoded(text: str, gates: Collection[str]) -> NormalizedText | None:
    """Return the text with what the gates announce in plain."""
    changes: list[tuple[int, int, str]] = []
    for gate in _ENCODINGS.keys() & gates:
        budget = _MAX_DECODED
        tries = (
            _MAX_STRETCHES if gate in ("base64", "hex", "url") else _MAX_DECODED // 8
        )
        decode = _ENCODINGS[gate][1]
        for match in _PATTERNS[gate].finditer(text):
            plain = decode(match.group())
            tries -= 1
            budget -= match.end() - match.start()
            if plain is not None:
                changes.append((match.start(), match.end(), plain))
            if tries <= 0 or budget <= 0:
                break
    return _changed(text, changes)


def _changed(text: str, changes: list[tuple[int, int, str]]) -> NormalizedText | None:
    builder = Builder(text)
    done = 0
    for start, end, plain in sorted(changes):
        if start >= done:
            builder.change(start, end, plain)
            done = end
    return builder.build()


# Spellings ------------------------------------------------------------------------------
_LEET = str.maketrans("013457@$!|", "oieastasil")
_LEET_WORD = re.compile(r"[\w@$!|]*[A-Za-z][\w@$!|]*", re.ASCII)
_LEET_SIGN = re.compile(r"[013457@$!|]")
_BLOCK = re.compile(
    r"(?<![A-Za-z0-9])[A-Za-z](?:[ .*_/|-]{1,3}[A-Za-z](?![A-Za-z0-9])){4,400}"
)
_GAPS = re.compile(r"(?<=[A-Za-z])[ .*_/|-]{2,3}(?=[A-Za-z])")
# Words that attacks are made of; between letters evenly spaced none ends.
_JOINED = re.compile(
    r"(ignore|disregard|forget|reveal|bypass|show|print|tell|all|any|the|your|previous|prior"
    r"|above|system|prompt|instructions?|rules?|guidelines?|password|secret|and|you|are|now|no"
    r"|restrictions?|me)",
    re.IGNORECASE,
)


def _unleeted(text: str) -> NormalizedText | None:
    changed = _LEET_WORD.sub(_plain_word, text)
    return None if changed == text else same_places(changed)


def _plain_word(word: re.Match[str]) -> str:
    letters = word.group()
    return letters.translate(_LEET) if _LEET_SIGN.search(letters) else letters


def _joined(text: str) -> NormalizedText | None:
    changes = []
    for match in _BLOCK.finditer(text):
        run = match.group()
        words = _GAPS.split(run)
        if len(words) == 1:
            joined = re.sub(r"[ .*_/|-]", "", run)
            plain = _JOINED.sub(r" \1 ", joined)
        else:
            plain = " ".join(re.sub(r"[ .*_/|-]", "", word) for word in words)
        changes.append((match.start(), match.end(), plain))
    return _changed(text, changes[:_MAX_STRETCHES])


def _rotated(text: str) -> NormalizedText | None:
    return same_places(codecs.encode(text, "rot13"))


_SPELLINGS: dict[str, tuple[str, Callable[[str], NormalizedText | None]]] = {
    "leet": ("leetspeak", _unleeted),
    "spaced": ("spaced", _joined),
    "rot13": ("rot13", _rotated),
}
