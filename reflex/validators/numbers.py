"""Numbers with a checksum or a range: cards, IBANs, social security, routing."""

from __future__ import annotations

import re
from collections.abc import Mapping

from reflex.validators.spans import Span, neighbours

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
# Each digit twice, the digits of that added up.
_DOUBLED = str.maketrans("0123456789", "0246813579")


_FRACTION = neighbours(before=r"\d[.,]")
_NO_DIGIT = re.compile(r"\D")


def card(text: str, start: int, end: int) -> Span | None:
    """Keep the longest run of groups that is a card number by issuer and Luhn."""
    if _is_inside_chain(text, start):
        return None
    digits = _NO_DIGIT.sub("", text[start:end])
    lengths = _CARD_LENGTHS.get(digits[:4])
    if lengths is None:
        return None
    groups = list(re.finditer(r"\d+", text[start:end]))
    first = start + groups[0].start()
    length = len(digits)
    for group in reversed(groups):
        if length in lengths and _passes_luhn(digits[:length]):
            span = first, start + group.end()
            return None if _FRACTION.surround(text, start, end) else span
        length -= len(group.group())
    return None


def _is_inside_chain(text: str, start: int) -> bool:
    """Return whether this is one of single digits in a row, and not the first.

    They are a card only from where they begin, not from each on.
    """
    if start < 2 or text[start + 1].isdigit() or text[start - 1] not in " .-":
        return False
    return text[start - 2].isdigit() and not text[max(0, start - 3)].isalnum()


def _passes_luhn(digits: str) -> bool:
    """Source: ISO/IEC 7812-1, annex B."""
    even = digits[-2::-2].translate(_DOUBLED)
    return (sum(map(int, digits[-1::-2])) + sum(map(int, even))) % 10 == 0


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


_BESIDE_SSN = neighbours(
    before=r"\d[ .-]|[.+-]|(?:[Ss]uite|[Aa]pt|[Uu]nit|[Rr]oom|[Bb]ox|[Ff]lat)\.? ",
    after=r"[ .-]?\d|-\w",
)


def ssn(text: str, start: int, end: int) -> Span | None:
    """Keep the digits if they lie in the ranges that are given out.

    Source: SSA, "Social Security Number Randomization" (2011).
    """
    number = re.search(r"\d{3}([ .-]?)\d{2}\1\d{4}\Z", text[start:end])
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


def ssn_alone(text: str, start: int, end: int) -> Span | None:
    """Keep nine digits that are all of the text."""
    return ssn(text, start, end) if end - start == len(text) else None


def routing(text: str, start: int, end: int) -> Span | None:
    """Keep nine digits that pass the check of the ABA, or a British sort code.

    Source: ABA routing number policy; weights 3, 7, 1.
    """
    number = re.search(r"\d[\d -]{4,12}\d\Z", text[start:end])
    if number is None:
        return None
    digits = [int(digit) for digit in _NO_DIGIT.sub("", number.group())]
    if len(digits) == 9:
        check = sum(w * d for w, d in zip((3, 7, 1) * 3, digits, strict=True))
        if check % 10 or not any(digits):
            return None
    elif len(digits) not in (6, 8):  # sort code; German Bankleitzahl
        return None
    return start + number.start(), end


def nhs(text: str, start: int, end: int) -> Span | None:
    """Keep ten digits that pass modulus 11.

    Source: NHS data dictionary, "NHS NUMBER".
    """
    number = re.search(r"\d[\d -]{8,11}\d\Z", text[start:end])
    if number is None:
        return None
    digits = [int(digit) for digit in _NO_DIGIT.sub("", number.group())]
    check = 11 - sum((10 - i) * digit for i, digit in enumerate(digits[:9])) % 11
    passes = len(digits) == 10 and check % 11 == digits[9]
    return (start + number.start(), end) if passes else None
