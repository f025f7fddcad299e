"""Five ways to write a text without its values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum

from reflex.fingerprints import fingerprint
from reflex.found import Found
from reflex.placeholders import placeholder


class Style(StrEnum):
    """What stands where a value stood."""

    PLACEHOLDER = "placeholder"  # [EMAIL_1]: equal values alike, numbered by the text
    MASK = "mask"  # ***@*******.***: signs of the value but no letter and no digit
    PARTIAL = "partial"  # a***@example.org, ************1111: what people recognise
    HASH = "hash"  # [EMAIL#…]: equal values alike in all texts, by our own key
    REMOVE = "remove"  # nothing


# Of which the last signs may show, as on a receipt.
_ENDING = frozenset(
    {"BANK_ACCOUNT", "CARD", "CRYPTO", "IBAN", "PHONE", "ROUTING", "SSN"}
)
_SHOWN = 4
# Letters only: digits in it could be taken for another value.
_LETTERS = str.maketrans("0123456789abcdef", "abcdefghijklmnop")
_HASH_LETTERS = 16


def redact(text: str, values: Iterable[Found], style: Style) -> str:
    """Return the text with its values written in that style.

    ``values`` are by position and do not overlap.
    """
    writing = _numbering() if style == Style.PLACEHOLDER else _WRITERS[style]
    parts: list[str] = []
    position = 0
    for value in values:
        parts += (
            text[position : value.start],
            writing(text[value.start : value.end], value.type),
        )
        position = value.end
    parts.append(text[position:])
    return "".join(parts)


def _numbering() -> Callable[[str, str], str]:
    """Return what gives each value of one text its placeholder."""
    names: dict[tuple[str, str], str] = {}
    counts: Counter[str] = Counter()

    def name(value: str, value_type: str) -> str:
        if (value, value_type) not in names:
            counts[value_type] += 1
            names[value, value_type] = placeholder(value_type, counts[value_type])
        return names[value, value_type]

    return name


def _mask(value: str, value_type: str) -> str:
    # The signs within a secret belong to it, and user:password shows what it is.
    is_secret = value_type == "SECRET"
    return "".join("*" if is_secret or c.isalnum() else c for c in value)


def _partial(value: str, value_type: str) -> str:
    if value_type == "EMAIL":
        login, _, domain = value.rpartition("@")
        return f"{login[:1]}***@{domain}"
    if value_type not in _ENDING:
        return _mask(value, value_type)
    places = [index for index, sign in enumerate(value) if sign.isalnum()]
    # Never more than a third: of a short one four would be most of it.
    shown = set(_last(places, min(_SHOWN, len(places) // 3)))
    return "".join(
        "*" if sign.isalnum() and index not in shown else sign
        for index, sign in enumerate(value)
    )


def _last(places: Sequence[int], count: int) -> Sequence[int]:
    return places[len(places) - count :]


def _hash(value: str, value_type: str) -> str:
    mac = fingerprint([value_type, value], purpose="redaction")
    return f"[{value_type}#{mac[:_HASH_LETTERS].translate(_LETTERS)}]"


def _remove(_value: str, _value_type: str) -> str:
    return ""


_WRITERS: dict[Style, Callable[[str, str], str]] = {
    Style.MASK: _mask,
    Style.PARTIAL: _partial,
    Style.HASH: _hash,
    Style.REMOVE: _remove,
}
