"""Facts that have a form: e-mail addresses, dates, amounts of money."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal

from arms.services.analyst.dates import find_dates
from arms.services.analyst.texts import Check
from octollm.types import JSONObject
from reflex.screening import find_pii

NAME = "patterns for e-mail addresses, dates and amounts"
# A single find_pii call over megabytes would hold everything at once.
_PIECE = 200_000

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
    for found in find_dates(text):
        yield Fact(
            index=index,
            start=found.start,
            end=found.end,
            value=found.value,
            meaning={"date": found.iso},
        )


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
