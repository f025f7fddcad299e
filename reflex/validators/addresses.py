"""Addresses: of people (e-mail), machines (IP, MAC), wallets and places."""

from __future__ import annotations

import ipaddress
import re
from hashlib import sha256

from reflex.validators.spans import Span, cue, neighbours


def email(text: str, start: int, end: int) -> Span | None:
    """Grow the one character before the @ to the whole local part."""
    before = text[max(0, start - 64) : start + 1]
    local = re.search(r"[\w.%+'-]{1,64}\Z", before)
    if local is None:
        return None
    first = start + 1 - len(local.group().lstrip(".'-"))
    # https://TOKEN@host is a credential, not an address.
    if text.startswith("//", max(0, first - 2)) and first >= 2:
        return None
    labels = text[start + 2 : end].split(".")
    if any(label.startswith("-") or label.endswith("-") for label in labels):
        return None
    return first, end


_VERSION_WORD = re.compile(
    r"(?:\b(?:v|ver|rev|section|chapter|version|release|build|firmware|policy)\.?"
    r"|upgrade to|update to)[ :=]{0,2}\Z",
    re.IGNORECASE,
)


_ADDRESS_WORD = re.compile(
    r"\b(?:ip|ipv4|address|host|server|gateway|client|from|ping|subnet)\b[^.\n]{0,8}\Z",
    re.IGNORECASE,
)


_BESIDE_IPV4 = neighbours(before=r"[\w.+-]", after=r"[\w-]|\.\d")


def ipv4(text: str, start: int, end: int) -> Span | None:
    """Keep an address that can belong to somebody, and no version number."""
    # Four small numbers count chapters or releases, if nothing says otherwise.
    is_small = end - start <= 11 and all(
        int(octet) < 32 for octet in text[start:end].split(".")
    )
    if is_small and not _ADDRESS_WORD.search(text, max(0, start - 24), start):
        return None
    if _BESIDE_IPV4.surround(text, start, end):
        return None
    if _VERSION_WORD.search(text, max(0, start - 14), start):
        return None
    return (start, end) if _is_personal_address(text[start:end]) else None


_IPV6_LEFT = re.compile(r"[0-9A-Fa-f:]{1,40}\Z")
_IPV6_RIGHT = re.compile(r"[0-9A-Fa-f:.]{1,45}")


_BESIDE_IPV6 = neighbours(before=r"\w", after=r"\w")


def ipv6(text: str, start: int, end: int) -> Span | None:
    """Grow the match to all that can belong to the address and parse it."""
    left = _IPV6_LEFT.search(text, max(0, start - 40), start)
    # All pairs of colons of one address would find it; the first does.
    if left and ":" in left.group():
        return None
    right = _IPV6_RIGHT.match(text, end)
    first = start - (len(left.group()) if left else 0)
    last = right.end() if right else end
    address = text[first:last].rstrip(".:")
    span = first, first + len(address)
    if _BESIDE_IPV6.surround(text, *span):
        return None
    # C++ and Rust write names like a::b; an address of four letters is none.
    if sum(character.isdigit() for character in address) < 2:
        return None
    return span if _is_personal_address(address) else None


def _is_personal_address(address: str) -> bool:
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    return not (parsed.is_loopback or parsed.is_unspecified or parsed.is_multicast)


_BESIDE_MAC = neighbours(before=r"[\w][:.-]|\w", after=r"[:-]?\w|\.\w{4}")


def mac(text: str, start: int, end: int) -> Span | None:
    """Keep an address that can belong to one device, as a whole."""
    if _BESIDE_MAC.surround(text, start, end):
        return None
    digits = re.sub(r"[:.-]", "", text[start:end]).lower()
    return None if digits in {"0" * 12, "f" * 12} else (start, end)


# Wallets --------------------------------------------------------------------------------
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_RIPPLE = "rpshnaf39wBUDNEGHJKLM4PQRST7VWXYZ2bcdeCg65jkm8oFqi1tuvAxyz"
_COIN_WORD = cue(
    r"wallets?|bitcoin|btc|crypto\w*|litecoin|ltc|dogecoin|doge|tron|trx|usdt|xrp|ripple"
    r"|solana|sol|monero|xmr"
)


def base58(text: str, start: int, end: int) -> Span | None:
    """Keep an address with a valid checksum, or one that a coin's name announces."""
    value = text[start:end]
    alphabet = _RIPPLE if value[0] == "r" else _BASE58
    if _passes_base58_check(value, alphabet):
        return start, end
    # Letters of one case only are a word or a number of some other kind.
    is_mixed = value != value.lower() and value != value.upper()
    has_digits = sum(character.isdigit() for character in value) >= 2
    return _COIN_WORD(text, start, end) if is_mixed and has_digits else None


def _passes_base58_check(value: str, alphabet: str) -> bool:
    """Source: Bitcoin wiki, "Base58Check encoding"."""
    number = 0
    for character in value:
        number = number * 58 + alphabet.index(character)
    try:
        content = number.to_bytes(25, "big")
    except OverflowError:
        return False
    payload, check = content[:-4], content[-4:]
    return sha256(sha256(payload).digest()).digest()[:4] == check


# Places ---------------------------------------------------------------------------------


def coordinates(text: str, start: int, end: int) -> Span | None:
    """Keep the numbers of a position that lies on Earth."""
    place = re.search(
        r"-?\d{1,3}\.\d+(?:[ ,;/]{1,3}-?\d{1,3}\.\d+)?\Z", text[start:end]
    )
    if place is None or re.match(r"[\d.]", text[end : end + 1]):
        return None
    numbers = [float(number) for number in re.findall(r"-?\d+\.\d+", place.group())]
    limits = (90, 180) if len(numbers) == 2 else (180,)
    if any(abs(n) > limit for n, limit in zip(numbers, limits, strict=True)):
        return None
    return start + place.start(), end
