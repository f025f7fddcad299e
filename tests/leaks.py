"""What must not stand in a prompt, looked for without any code of the reflex.

A fake that receives requests looks here at each of them, so that the whole suite
asserts that no secret and no raw personal data reaches a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from django.conf import settings

_EMAIL = re.compile(r"[\w.+-]+@[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)+")
_CARD = re.compile(r"(?<![\w.,-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])")
_SSN = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_IBAN = re.compile(r"(?<!\w)[A-Z]{2}\d{2}(?: ?[A-Z0-9]){11,30}(?!\w)")
_PHONE = re.compile(r"(?<![\w+])\+[1-9]\d{0,2}(?:[ ().-]{0,2}\d){7,12}(?!\w)")
_SECRETS: Mapping[str, re.Pattern[str]] = {
    "AWS key": re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"),
    "GitHub token": re.compile(r"\b(?:gh[pousr]_\w{30,}|github_pat_\w{20,})"),
    "Slack token": re.compile(r"\bxox[abeoprs]-[\w-]{10,}"),
    "Google key": re.compile(r"\bAIza[\w-]{30,}"),
    "provider key": re.compile(r"\b[sr]k[-_](?:live_|test_|proj-|ant-)?\w{16,}"),
    "JSON web token": re.compile(r"\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{8,}"),
    "private key": re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY"),
    "password in an address": re.compile(r"\w://[^\s/:@\"']+:[^\s/@\"']+@"),
}
_ESCAPE = re.compile(r"\\+(?:u([0-9a-fA-F]{4})|([\"/nrtbf]))")
# A text in JSON in a prompt in JSON is escaped as often as it is wrapped.
_WRAPPED_AT_MOST = 4
_SHOWN = 6

_watched: set[str] = set()
_refused: list[str] = []


class LeakError(AssertionError):
    """A request held what must not leave."""


def watch(canary: str) -> str:
    """Look for this text too, in every request from now on; return it."""
    assert len(canary) >= 8, "a short text stands in prompts by chance"
    _watched.add(canary)
    return canary


def refuse(found: list[str]) -> None:
    """Fail, here and at the end of the run, if a request held anything.

    Raises:
        LeakError: it did.
    """
    _refused.extend(found)
    if found:
        raise LeakError(f"{len(found)} leaks into a prompt: {', '.join(found)}")


def refused() -> list[str]:
    """Return what any request of the run held that must not leave."""
    return list(_refused)


def leaks_in(text: str) -> list[str]:
    """Return what a text holds that must not leave, one short phrase each.

    Looks at the text as it is and with the escapes of JSON and of addresses undone.
    """
    found: dict[str, None] = {}
    for form in _forms(text):
        found |= dict.fromkeys(_found_in(form))
    return list(found)


def leaks_in_request(path: str, headers: Mapping[str, str], text: str) -> list[str]:
    """Return what a request holds that must not leave; its credential may."""
    shown = [f"{name}: {headers[name]}" for name in headers if name != "authorization"]
    return leaks_in("\n".join((path, *shown, text)))


def _forms(text: str) -> Iterator[str]:
    yield text
    for _ in range(_WRAPPED_AT_MOST):
        plain = _ESCAPE.sub(_unescaped, text)
        if plain == text:
            break
        yield plain
        text = plain
    if "%" in text:
        yield unquote(text)


def _unescaped(escape: re.Match[str]) -> str:
    if escape[1]:
        return chr(int(escape[1], 16))
    return escape[2] if escape[2] in '"/' else " "


def _found_in(text: str) -> Iterator[str]:
    yield from _named("e-mail address", _EMAIL.finditer(text))
    yield from _named("card", filter(_is_card, _CARD.finditer(text)))
    yield from _named("social security number", _SSN.finditer(text))
    yield from _named("IBAN", filter(_is_iban, _IBAN.finditer(text)))
    yield from _named("phone", _PHONE.finditer(text))
    for name, pattern in _SECRETS.items():
        yield from _named(name, pattern.finditer(text))
    for canary in (*_watched, *_own_secrets()):
        if canary in text:
            yield f"canary {canary[:_SHOWN]}…"


def _named(name: str, matches: Iterator[re.Match[str]]) -> Iterator[str]:
    for match in matches:
        yield f"{name} {match[0][:_SHOWN]}…"


def _own_secrets() -> list[Any]:
    return [
        settings.SECRET_KEY,
        settings.OCTOLLM_HMAC_KEY,
        *settings.OCTOLLM_VAULT_KEYS,
    ]


def _is_card(match: re.Match[str]) -> bool:
    """Tell whether the digits pass the check that card numbers pass (Luhn)."""
    digits = [int(each) for each in match[0] if each.isdigit()]
    doubled = [sum(divmod(2 * each, 10)) for each in digits[-2::-2]]
    return (sum(digits[::-2]) + sum(doubled)) % 10 == 0


def _is_iban(match: re.Match[str]) -> bool:
    """Tell whether the check digits are right: the number is 1 modulo 97."""
    text = match[0].replace(" ", "")
    return int("".join(str(int(each, 36)) for each in text[4:] + text[:4])) % 97 == 1
