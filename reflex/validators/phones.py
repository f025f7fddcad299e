"""Telephone numbers, as people write them in many countries."""

from __future__ import annotations

import re

from reflex.validators.plans import is_planned
from reflex.validators.spans import Span, neighbours

# Source: ITU-T E.164, list of assigned country codes.
_COUNTRY_CODE = re.compile(
    r"1|7|2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|(?:2[1-69]|3[578]|42|5[09]|6[789]|8[0578]|9[679])\d"
)
_EXTENSION = re.compile(r"[ ,;]{0,2}(?:x|ext\.?)[ .:]{0,2}\d{1,6}\Z", re.IGNORECASE)


_BESIDE_INTERNATIONAL = neighbours(before=r"[\w.+)-]", after=r"\d|[.,]\d")


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


_BESIDE_SEPARATED = neighbours(
    before=r"[\w+$€£#/=.-]|\d[ ,]", after=r"\w|[.,/:-]\d| \d"
)


def phone_separated(text: str, start: int, end: int) -> Span | None:
    """Keep a grouped number that is no part of a longer chain of numbers."""
    if _BESIDE_SEPARATED.surround(text, start, end):
        return None
    digits = re.sub(r"\D", "", _EXTENSION.sub("", text[start:end]))
    return (start, end) if 7 <= len(digits) <= 13 else None


_BESIDE_ANNOUNCED = neighbours(before=r"[\w.+/-]")


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

_OTHER_NUMBER = re.compile(
    r"\b(?:serial|part|order|invoice|item|model|sku|ref|reference|ticket|booking|isbn"
    r"|lottery|lotto|article|product|id|sin|vat|version|case|batch|lot)\b[^\n.]{0,12}[.:]?[^\n.]{0,3}\Z",
    re.IGNORECASE,
)
# Groups of thousands, and of two digits, are numbers of other kinds as often.
_AMOUNT = re.compile(r"[1-9]\d{0,2}(?:(?P<gap>[ .,-])\d{3})(?:(?P=gap)\d{3})*")


def phone_planned(text: str, start: int, end: int) -> Span | None:
    """Keep a number grouped as some country groups its numbers."""
    # Dates are the most frequent of all grouped numbers.
    if end - start <= 10 and text[start + 4] in "-/." and text[start] in "12":
        return None
    if _is_other_number(text, start, end):
        return None
    groups = tuple(re.findall(r"\d+", text[start:end]))
    return (start, end) if is_planned(groups) else None


def _is_other_number(text: str, start: int, end: int) -> bool:
    """Return whether this is a part, an amount, a date, or of no possible length."""
    if _BESIDE_SEPARATED.surround(text, start, end):
        return True
    if _OTHER_NUMBER.search(text, max(0, start - 24), start):
        return True
    value = text[start:end]
    lengths = [len(group) for group in re.findall(r"\d+", value)]
    # Without the digit one dials first, thousands and pairs are other numbers.
    if value[0] not in "(0" and (_AMOUNT.fullmatch(value) or max(lengths) < 3):
        return True
    return _DATE.fullmatch(value) is not None or not 8 <= sum(lengths) <= 12
