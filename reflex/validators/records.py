"""What a word announces: numbers of documents and records, and dates of birth."""

from __future__ import annotations

import re

from reflex.validators.spans import Span

_LAST_WORD = re.compile(r"[^\s\"':=#\x1f]+\Z")
_CONTINUES = re.compile(r"[\w-]|[./]\d")
_YEARS = range(1900, 2101)
_DATE_LIKE = re.compile(r"(?:19|20)\d\d(?:-?[01]\d-?[0-3]\d)")
_DIGITS = re.compile(r"\d+")
_WRITTEN_DATE = re.compile(
    r"(?:\d{1,4}[-./ ]\d{1,2}[-./ ]\d{1,4}"
    r"|\d{1,2}(?:st|nd|rd|th|er|\.)?[ -](?:of |de |do )?[^\W\d_]{3,10}\.?,?[ -](?:de |do )?\d{4}"
    r"|[^\W\d_]{3,10}\.? \d{1,2}(?:st|nd|rd|th)?,? \d{4})\Z"
)


def identifier(text: str, start: int, end: int) -> Span | None:
    """Keep the last word if it is an identifier: as many digits as such ones have."""
    word = _LAST_WORD.search(text, start, end)
    if word is None or _CONTINUES.match(text, end):
        return None
    value = word.group()
    digits = sum(character.isdigit() for character in value)
    if digits < 4 or len(value) < 5 or _DATE_LIKE.fullmatch(value):
        return None
    return word.start(), end


def account(text: str, start: int, end: int) -> Span | None:
    """Keep the digits at the end, grouped or not, if they are as many as of an account."""
    number = re.search(r"\d[\d -]{4,24}\d\Z", text[start:end])
    if number is None or re.match(r"\d|-\d|\w", text[end : end + 2]):
        return None
    value = number.group()
    if _DATE_LIKE.fullmatch(value):
        return None
    digits = sum(character.isdigit() for character in value)
    # "Account" alone also counts customers; those of banks are longer.
    least = (
        6 if re.search(r"(?i)bank|check|saving|num|no|acct|a/c", text[start:end]) else 8
    )
    return (start + number.start(), end) if least <= digits <= 18 else None


def birth_date(text: str, start: int, end: int) -> Span | None:
    """Keep the date at the end, if there is such a day in a year of living memory."""
    if re.match(r"\d|[/.-]\d", text[end : end + 2]):
        return None
    date = _WRITTEN_DATE.search(text, start, end)
    if date is None:
        return None
    numbers = [int(number) for number in _DIGITS.findall(date.group())]
    years = [number for number in numbers if number in _YEARS]
    short = [number for number in numbers if number <= 31]
    is_day = len(years) == 1 and 0 not in short and len(short) == len(numbers) - 1
    is_short = len(numbers) == 3 and max(numbers) <= 99 and min(numbers) >= 0
    return date.span() if is_day or is_short else None
