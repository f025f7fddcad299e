"""Credentials: what surrounds them, and what only looks like one."""

from __future__ import annotations

import re

from reflex.placeholders import has_placeholder
from reflex.rules import ASSIGN, END
from reflex.validators.spans import Span

_BLOCK_LIMIT = 10_000


def private_key(text: str, start: int, end: int) -> Span | None:
    """Grow the first line of a key block to its last, or to where the text ends."""
    limit = min(len(text), end + _BLOCK_LIMIT)
    last_line = re.compile(r"-----END[A-Z0-9 ]{1,40}-----").search(text, end, limit)
    if last_line:
        return start, last_line.end()
    stop = text.find(END, end, limit)
    return start, limit if stop < 0 else stop


def mixed_token(text: str, start: int, end: int) -> Span | None:
    """Keep a token that has both letters and digits, as random ones do."""
    token = text[start:end]
    has_both = any(c.isdigit() for c in token) and any(c.isalpha() for c in token)
    return (start, end) if has_both else None


def url_credentials(text: str, start: int, end: int) -> Span | None:
    """Keep what stands between :// and @."""
    span = start + len("://"), end - len("@")
    login = text[slice(*span)]
    if has_placeholder(login):
        return None
    _, colon, password = login.partition(":")
    if colon:
        return span if password else None
    return mixed_token(text, *span)


_TOKEN = re.compile(r"[^\s:=\"'`\x1f]+=*\Z")
_WORDS = re.compile(r"[a-z]+(?:[_-][a-z]+)*|[A-Z]+(?:[_-][A-Z]+)*")
_HEX = re.compile(r"[0-9a-fA-F-]+")


def random_value(text: str, start: int, end: int) -> Span | None:
    """Keep the value at the end if it looks random: no words, no checksum, no UUID."""
    value = _TOKEN.search(text[start:end])
    if (
        value is None
        or _WORDS.fullmatch(value.group())
        or _HEX.fullmatch(value.group())
    ):
        return None
    return mixed_token(text, start + value.start(), end)


def bearer_token(text: str, start: int, end: int) -> Span | None:
    """Keep the token behind the name of its scheme."""
    return mixed_token(text, start + text[start:end].rindex(" ") + 1, end)


_ASSIGNMENT = re.compile(
    rf"""["'`]?[ \t]{{0,3}}(?:=>|:=|[:={ASSIGN}]|\bis\b)[ \t]{{0,3}}["'`]?"""
)
_VALUE = re.compile(r"""[^\s"'`,;<>\x00\x1f]{4,200}""")
_ADDRESS = re.compile(r"[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+\.?")
_REFERENCE = re.compile(
    r"[$%{(<*]|\.\.\.|x{4}|os\.|env|process\.|settings\.|config|self\.|get|none\b|null\b"
    r"|true\b|false\b|your|my[_-]|example|changeme|redacted|required|str\b|string|optional",
    re.IGNORECASE,
)


def assigned_secret(text: str, start: int, end: int) -> Span | None:
    """Keep the value that a name such as "password" is given, if it is one."""
    assignment = _ASSIGNMENT.search(text, start, end)
    if assignment is None:
        return None
    value = _VALUE.match(text, assignment.end())
    if value is None or has_placeholder(value.group()):
        return None
    # "Secret: ada@example.org" is an address whatever it is called.
    if _ADDRESS.fullmatch(value.group()):
        return None
    span = assignment.end(), assignment.end() + len(value.group().rstrip(".)]}"))
    # Under a key of its own a value needs no further sign of being one.
    if ASSIGN in assignment.group():
        return span
    return span if _looks_secret(text[slice(*span)]) else None


def _looks_secret(value: str) -> bool:
    if len(value) < 6 or _REFERENCE.match(value) or "(" in value or "[" in value:
        return False
    # Two kinds of characters, and not only words and the signs of sentences.
    return bool(_STRONG.search(value) and len({_kind(c) for c in value[:64]}) >= 2)


def _kind(character: str) -> str:
    if character.isdigit():
        return "digit"
    return "letter" if character.isalpha() else "sign"


_STRONG = re.compile(r"[\d!#$%*@^?]")


def after_cue(text: str, start: int, end: int) -> Span | None:
    """Keep the last word of the match, which a cue before it announced."""
    word = re.search(r"[^\s\"':=]+\Z", text[start:end])
    return (start + word.start(), end) if word else None


def url_parameter(text: str, start: int, end: int) -> Span | None:
    """Keep the value of a parameter of a URL, if it looks random."""
    first = text.index("=", start) + 1
    value = text[first:end]
    if has_placeholder(value) or _WORDS.fullmatch(value):
        return None
    return mixed_token(text, first, end)


def command_secret(text: str, start: int, end: int) -> Span | None:
    """Keep what a command line is given as a password."""
    value = _ARGUMENT.search(text, start, end)
    if value is None:
        return None
    first = value.start()
    # Many programs know -u; that of curl holds a password.
    if text.startswith((" -u", " --user"), start):
        login, colon, _ = value.group().partition(":")
        if not colon or "curl" not in text[max(0, start - 100) : start]:
            return None
        first += len(login) + 1
    return (first, end) if _looks_secret(text[first:end]) else None


_ARGUMENT = re.compile(r"[^ =\"']+\Z")
