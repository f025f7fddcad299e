"""What a pattern cannot say: checksums, ranges, neighbours.

A validator gets the text and the span of a match and returns the span of the
value, which may be shorter or longer, or nothing when there is none. It looks at
a bounded stretch of text only, so that hostile texts stay linear.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from reflex.placeholders import has_placeholder
from reflex.rules import ASSIGN, END

Span = tuple[int, int]
Validator = Callable[[str, int, int], Span | None]


@dataclass(frozen=True)
class _Neighbours:
    """What must not stand right before or right after a value."""

    before: re.Pattern[str] | None = None
    after: re.Pattern[str] | None = None

    def surround(self, text: str, start: int, end: int) -> bool:
        """Return whether one of them does."""
        if self.before and self.before.search(text, max(0, start - 12), start):
            return True
        return bool(self.after and self.after.match(text, end, end + 12))


def _neighbours(*, before: str = "", after: str = "") -> _Neighbours:
    return _Neighbours(
        re.compile(rf"(?:{before})\Z") if before else None,
        re.compile(after) if after else None,
    )


# E-mail ------------------------------------------------------------------------------


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


# Numbers with a checksum --------------------------------------------------------------
# (first digits from, to, number of digits). Source: ISO/IEC 7812 issuer ranges as the
# card schemes publish them.
_ISSUERS: tuple[tuple[int, int, frozenset[int]], ...] = (
    (4, 4, frozenset({13, 16, 19})),  # Visa
    (51, 55, frozenset({16})),  # Mastercard
    (2221, 2720, frozenset({16})),  # Mastercard
    (34, 34, frozenset({15})),  # American Express
    (37, 37, frozenset({15})),  # American Express
    (300, 309, frozenset({14})),  # Diners Club
    (36, 36, frozenset(range(14, 20))),  # Diners Club
    (38, 39, frozenset(range(14, 20))),  # Diners Club
    (3528, 3589, frozenset(range(16, 20))),  # JCB
    (6011, 6011, frozenset(range(16, 20))),  # Discover
    (644, 649, frozenset(range(16, 20))),  # Discover
    (65, 65, frozenset(range(16, 20))),  # Discover, RuPay
    (62, 62, frozenset(range(16, 20))),  # UnionPay
    (2200, 2205, frozenset(range(16, 20))),  # Mir
    (5018, 5018, frozenset(range(13, 20))),  # Maestro
    (5020, 5020, frozenset(range(13, 20))),  # Maestro
    (5038, 5038, frozenset(range(13, 20))),  # Maestro
    (5893, 5893, frozenset(range(13, 20))),  # Maestro
    (6304, 6304, frozenset(range(13, 20))),  # Maestro
    (6759, 6763, frozenset(range(13, 20))),  # Maestro
)
# Lengths by the first four digits.
_CARD_LENGTHS: Mapping[str, frozenset[int]] = {
    f"{prefix}": lengths
    for low, high, lengths in _ISSUERS
    for prefix in range(
        low * 10 ** (4 - len(str(low))), (high + 1) * 10 ** (4 - len(str(high)))
    )
}
_DOUBLED = (0, 2, 4, 6, 8, 1, 3, 5, 7, 9)


_FRACTION = _neighbours(before=r"\d[.,]")
_CHAIN = _neighbours(before=r"\b\d[ .-]")
_NO_DIGIT = re.compile(r"\D")


def card(text: str, start: int, end: int) -> Span | None:
    """Keep the longest run of groups that is a card number by issuer and Luhn."""
    digits = _NO_DIGIT.sub("", text[start:end])
    lengths = _CARD_LENGTHS.get(digits[:4])
    if lengths is None or _FRACTION.surround(text, start, end):
        return None
    groups = list(re.finditer(r"\d+", text[start:end]))
    # Single digits are a card only from where they begin, not from each on.
    if len(groups) == len(digits) and _CHAIN.surround(text, start, end):
        return None
    first = start + groups[0].start()
    length = len(digits)
    for group in reversed(groups):
        if length in lengths and _passes_luhn(digits[:length]):
            return first, start + group.end()
        length -= len(group.group())
    return None


def _passes_luhn(digits: str) -> bool:
    """Source: ISO/IEC 7812-1, annex B."""
    values = [int(digit) for digit in reversed(digits)]
    odd, even = values[::2], values[1::2]
    return (sum(odd) + sum(_DOUBLED[digit] for digit in even)) % 10 == 0


# Characters of an IBAN by country. Source: SWIFT IBAN registry.
_IBAN_LENGTHS: Mapping[str, int] = {
    country: int(length)
    for length, countries in {
        "15": "NO",
        "16": "BE",
        "18": "DK FI FO GL NL FK SD",
        "19": "MK SI",
        "20": "AT BA EE KZ LT LU XK MN",
        "21": "CH HR LI LV",
        "22": "BG BH CR DE GB GE IE ME RS VA",
        "23": "AE GI IL IQ OM SO TL",
        "24": "AD CZ ES MD PK RO SA SE SK TN VG",
        "25": "LY PT ST",
        "26": "IS TR",
        "27": "BI DJ FR GR IT MC MR SM",
        "28": "AL AZ BY CY DO GT HN HU LB NI PL SV",
        "29": "BR EG PS QA UA",
        "30": "JO KW MU YE",
        "31": "MT SC",
        "32": "LC",
        "33": "RU",
    }.items()
    for country in countries.split()
}


def iban(text: str, start: int, end: int) -> Span | None:
    """Keep as much as the country's length says, if mod 97 holds."""
    length = _IBAN_LENGTHS.get(text[start : start + 2].upper())
    positions = [i for i in range(start, end) if text[i].isalnum()]
    if length is None or len(positions) < length:
        return None
    last = positions[length - 1] + 1
    if last < len(text) and text[last].isalnum():
        return None
    compact = "".join(text[i] for i in positions[:length]).upper()
    # Source: ISO 13616, ISO 7064 mod 97-10; A stands for 10, Z for 35.
    digits = "".join(str(int(character, 36)) for character in compact[4:] + compact[:4])
    return (start, last) if int(digits) % 97 == 1 else None


# Social security numbers ----------------------------------------------------------------


_BESIDE_SSN = _neighbours(before=r"\d[ .-]|[.+-]", after=r"[ .-]?\d|-\w")


def ssn(text: str, start: int, end: int) -> Span | None:
    """Keep the digits if they lie in the ranges that are given out.

    Source: SSA, "Social Security Number Randomization" (2011).
    """
    number = re.search(r"\d{3}([ -]?)\d{2}\1\d{4}\Z", text[start:end])
    if number is None:
        return None
    digits = re.sub(r"\D", "", number.group())
    area, group, serial = digits[:3], digits[3:5], digits[5:]
    if area in {"000", "666"} or area > "899" or group == "00" or serial == "0000":
        return None
    span = start + number.start(), end
    if _BESIDE_SSN.surround(text, *span):
        return None
    return span


# Telephone numbers ----------------------------------------------------------------------
# Source: ITU-T E.164, list of assigned country codes.
_COUNTRY_CODE = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|(?:2[1-69]|3[578]|42|5[09]|6[789]|8[0578]|9[679])\d"
)
_EXTENSION = re.compile(r"[ ,;]{0,2}(?:x|ext\.?)[ .:]{0,2}\d{1,6}\Z", re.IGNORECASE)


_BESIDE_INTERNATIONAL = _neighbours(before=r"[\w.+)-]", after=r"\d|[.,]\d")


def phone_international(text: str, start: int, end: int) -> Span | None:
    """Keep a number with a known country code and a length that can be."""
    if _BESIDE_INTERNATIONAL.surround(text, start, end):
        return None
    extension = _EXTENSION.search(text, start, end)
    main_end = extension.start() if extension else end
    groups = list(re.finditer(r"\d+", text[start:main_end]))
    if len(groups[-1].group()) == 1:
        return None  # a sum with a sign, such as +35236450.6
    while groups:
        digits = "".join(group.group() for group in groups).removeprefix("00")
        if _is_international(digits):
            last = start + groups[-1].end()
            return start, end if last == main_end else last
        groups.pop()
    return None


def _is_international(digits: str) -> bool:
    if digits.startswith("1"):
        return len(digits) == 11
    return _COUNTRY_CODE.match(digits) is not None and 8 <= len(digits) <= 15


_BESIDE_SEPARATED = _neighbours(
    before=r"[\w+$€£#/=.-]|\d[ ,]", after=r"\w|[.,/:-]\d| \d"
)


def phone_separated(text: str, start: int, end: int) -> Span | None:
    """Keep a grouped number that is no part of a longer chain of numbers."""
    if _BESIDE_SEPARATED.surround(text, start, end):
        return None
    digits = re.sub(r"\D", "", _EXTENSION.sub("", text[start:end]))
    return (start, end) if 7 <= len(digits) <= 13 else None


_BESIDE_ANNOUNCED = _neighbours(before=r"[\w.+/-]")


def phone_announced(text: str, start: int, end: int) -> Span | None:
    """Keep the number at the front, which a word after it explains."""
    if _BESIDE_ANNOUNCED.surround(text, start, start):
        return None
    number = re.match(r"[+(]?\d[\d ()./-]{4,20}\d", text[start:end])
    if number is None or _DATE.fullmatch(number.group()):
        return None
    digits = re.sub(r"\D", "", number.group())
    return (start, start + number.end()) if 6 <= len(digits) <= 15 else None


def phone_cued(text: str, start: int, end: int) -> Span | None:
    """Keep the number after a word that announces one."""
    number = re.search(r"[+(]?\d[\d ()./-]{4,20}\d\Z", text[start:end])
    if number is None or re.match(r"\w|[.,/:-]\d", text[end : end + 2]):
        return None
    digits = re.sub(r"\D", "", number.group())
    if not 6 <= len(digits) <= 15 or _DATE.fullmatch(number.group()):
        return None
    return start + number.start(), end


_DATE = re.compile(r"\d{4}([-./ ])\d{1,2}\1\d{1,2}|\d{1,2}([-./ ])\d{1,2}\2\d{4}")


# Addresses of machines --------------------------------------------------------------------
_VERSION_WORD = re.compile(
    r"(?:\b(?:v|ver|rev|section|chapter|version|release|build|firmware|policy)\.?"
    r"|upgrade to|update to)[ :=]{0,2}\Z",
    re.IGNORECASE,
)


_ADDRESS_WORD = re.compile(
    r"\b(?:ip|ipv4|address|host|server|gateway|client|from|ping|subnet)\b[^.\n]{0,8}\Z",
    re.IGNORECASE,
)


_BESIDE_IPV4 = _neighbours(before=r"[\w.+-]", after=r"[\w-]|\.\d")


def ipv4(text: str, start: int, end: int) -> Span | None:
    """Keep an address that can belong to somebody, and no version number."""
    if _BESIDE_IPV4.surround(text, start, end):
        return None
    if _VERSION_WORD.search(text[max(0, start - 14) : start]):
        return None
    # Four small numbers count chapters or releases, if nothing says otherwise.
    is_small = all(int(octet) < 32 for octet in text[start:end].split("."))
    if is_small and not _ADDRESS_WORD.search(text[max(0, start - 24) : start]):
        return None
    return (start, end) if _is_personal_address(text[start:end]) else None


_IPV6_LEFT = re.compile(r"[0-9A-Fa-f:]{1,40}\Z")
_IPV6_RIGHT = re.compile(r"[0-9A-Fa-f:.]{1,45}")


_BESIDE_IPV6 = _neighbours(before=r"\w", after=r"\w")


def ipv6(text: str, start: int, end: int) -> Span | None:
    """Grow the match to all that can belong to the address and parse it."""
    left = _IPV6_LEFT.search(text[max(0, start - 40) : start])
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


# Secrets -----------------------------------------------------------------------------------
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
    span = assignment.end(), assignment.end() + len(value.group().rstrip(".)]}"))
    # Under a key of its own a value needs no further sign of being one.
    if ASSIGN in assignment.group():
        return span
    return span if _looks_secret(text[slice(*span)]) else None


def _looks_secret(value: str) -> bool:
    if len(value) < 6 or _REFERENCE.match(value) or set("([") & set(value):
        return False
    kinds = (str.isdigit, str.isalpha, lambda c: not c.isalnum())
    return sum(any(map(kind, value)) for kind in kinds) >= 2 and any(
        c.isdigit() or c in "!#$%*@^?" for c in value
    )


def after_cue(text: str, start: int, end: int) -> Span | None:
    """Keep the last word of the match, which a cue before it announced."""
    word = re.search(r"[^\s\"':=]+\Z", text[start:end])
    return (start + word.start(), end) if word else None


VALIDATORS: Mapping[str, Validator] = {
    validator.__name__: validator
    for validator in (
        after_cue,
        assigned_secret,
        bearer_token,
        card,
        email,
        iban,
        ipv4,
        ipv6,
        mixed_token,
        phone_announced,
        phone_cued,
        phone_international,
        phone_separated,
        private_key,
        random_value,
        ssn,
        url_credentials,
    )
}
