"""Facts that have a form: e-mail addresses, dates, amounts of money."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from arms.services.analyst.texts import Check
from octollm.types import JSONObject
from reflex.screening import find_pii

NAME = "patterns for e-mail addresses, dates and amounts"
# A single find_pii call over megabytes would hold everything at once.
_PIECE = 200_000

_MONTH_NAMES = (
    "jan january|feb february|mar march|apr april|may|jun june|jul july|"
    "aug august|sep sept september|oct october|nov november|dec december"
)
_MONTHS = {
    name: number
    for number, names in enumerate(_MONTH_NAMES.split("|"), start=1)
    for name in names.split()
}
_MONTH = "|".join(sorted(_MONTHS, key=len, reverse=True))
_DATE = re.compile(
    r"\b(?:(?P<year>\d{4})[-/.](?P<month>\d{1,2})[-/.](?P<day>\d{1,2})"
    r"|(?P<first>\d{1,2})(?P<sign>[./-])(?P<second>\d{1,2})(?P=sign)(?P<last>\d{4})"
    rf"|(?P<day_first>\d{{1,2}})(?:st|nd|rd|th)?\.? (?:of )?(?P<name>{_MONTH})\.?,? "
    r"(?P<year_after>\d{4})"
    rf"|(?P<name_first>{_MONTH})\.? (?P<day_after>\d{{1,2}})(?:st|nd|rd|th)?,? "
    r"(?P<year_last>\d{4}))\b",
    re.IGNORECASE,
)
_SYMBOLS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₹": "INR"}
_WORDS = {
    "dollar": "USD",
    "dollars": "USD",
    "euro": "EUR",
    "euros": "EUR",
    "pounds": "GBP",
    "yen": "JPY",
    "rupees": "INR",
}
_CODES = (
    "USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|SEK|NOK|DKK|PLN|CZK|INR|CNY|BRL|MXN|ZAR|SGD|HKD"
)
_SCALES = {"k": 10**3, "m": 10**6, "bn": 10**9}
_SCALES |= {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d{1,2})?|\d{1,15}(?:\.\d{1,2})?"
_SCALE = r"(?: ?(?P<scale{0}>thousand|million|billion|k|m|bn)\b)?"
_MONEY = re.compile(
    rf"(?<![\w.,])(?:(?P<before>[$€£¥₹]|(?:{_CODES}))\s?(?P<amount>{_NUMBER})"
    + _SCALE.format(1)
    + rf"|(?P<amount_first>{_NUMBER}){_SCALE.format(2)}\s?"
    rf"(?P<after>[€£¥₹]|(?:{_CODES}|{'|'.join(_WORDS)})\b))(?!\d)",
    re.IGNORECASE,
)


@dataclass(frozen=True, kw_only=True)
class Fact:
    """What was found: as written, where, and what it means."""

    index: int
    start: int
    end: int
    value: str
    meaning: Mapping[str, str | None]

    def as_json(self) -> JSONObject:
        """Return the form of the catalogue."""
        return {
            "value": self.value,
            **self.meaning,
            "index": self.index,
            "start": self.start,
            "end": self.end,
        }


def extract(
    texts: tuple[str, ...], kinds: tuple[str, ...], *, check: Check
) -> dict[str, list[Fact]]:
    """Return the facts of each kind in the order of the texts."""
    found: dict[str, list[Fact]] = {kind: [] for kind in kinds}
    for index, text in enumerate(texts):
        check()
        for kind in kinds:
            found[kind].extend(_FINDERS[kind](text, index))
    return found


def _emails(text: str, index: int) -> Iterator[Fact]:
    """Find e-mail addresses by the rules that conceal them."""
    for offset, piece in _pieces(text):
        for finding in find_pii(piece):
            if finding.type == "EMAIL":
                yield Fact(
                    index=index,
                    start=offset + finding.start,
                    end=offset + finding.end,
                    value=piece[finding.start : finding.end],
                    meaning={},
                )


def _pieces(text: str) -> Iterator[tuple[int, str]]:
    """Cut a long text at spaces, so that no address is cut."""
    start = 0
    while start < len(text):
        end = min(len(text), start + _PIECE)
        space = text.rfind(" ", start, end) if end < len(text) else -1
        end = space if space > start else end
        yield start, text[start:end]
        start = end


def _dates(text: str, index: int) -> Iterator[Fact]:
    """Find dates that name day, month and year; those that cannot be are none."""
    for match in _DATE.finditer(text):
        meaning = _date(match)
        if meaning is not _NO_DATE:
            yield Fact(
                index=index,
                start=match.start(),
                end=match.end(),
                value=match.group(),
                meaning={"date": meaning},
            )


_NO_DATE = ""


def _date(match: re.Match[str]) -> str | None:
    """Return ISO 8601, ``None`` if two readings are possible, or ``_NO_DATE``."""
    found = match.groupdict()
    if found["first"]:
        return _either_way(found["first"], found["second"], found["last"])
    name = found["name"] or found["name_first"]
    month = str(_MONTHS[name.lower()]) if name else found["month"]
    day = found["day"] or found["day_first"] or found["day_after"]
    year = found["year"] or found["year_after"] or found["year_last"]
    return _iso(year, month, day)


def _either_way(first: str, second: str, year: str) -> str | None:
    """Read 3/4/2024, whose order depends on the country that wrote it."""
    readings = {_iso(year, first, second), _iso(year, second, first)} - {_NO_DATE}
    if not readings:
        return _NO_DATE
    return readings.pop() if len(readings) == 1 else None


def _iso(year: str, month: str, day: str) -> str:
    """Return the date, or ``_NO_DATE`` if the calendar has no such day."""
    try:
        return date(int(year), int(month), int(day)).isoformat()
    except ValueError:
        return _NO_DATE


def _money(text: str, index: int) -> Iterator[Fact]:
    """Find amounts with a currency; a bare number is none."""
    for match in _MONEY.finditer(text):
        found = match.groupdict()
        sign = (found["before"] or found["after"] or "").lower()
        currency = _SYMBOLS.get(sign) or _WORDS.get(sign) or sign.upper()
        number = (found["amount"] or found["amount_first"] or "").replace(",", "")
        scale = (found["scale1"] or found["scale2"] or "").lower()
        amount = Decimal(number) * _SCALES.get(scale, 1)
        yield Fact(
            index=index,
            start=match.start(),
            end=match.end(),
            value=match.group(),
            meaning={"amount": f"{amount:f}", "currency": currency},
        )


_FINDERS: Mapping[str, Callable[[str, int], Iterator[Fact]]] = {
    "emails": _emails,
    "dates": _dates,
    "money": _money,
}
KINDS = tuple(_FINDERS)
