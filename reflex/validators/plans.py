"""National numbering plans: how numbers are grouped in the countries of most users.

The data are those of Google's libphonenumber, by its Python port. Its own matcher
parses a candidate anew for every country; here the formats are one table by the
lengths of the groups, so that a candidate costs microseconds.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product

from phonenumbers import NumberFormat, PhoneMetadata

# Two letters each, by ISO 3166-1.
_COUNTRIES = (
    "AEARATAUBEBRCHCLCNCOCZDEDKEGESFIFRGBGRHKHUIDIEILINIRIT"
    "JPKEKRMXMYNGNLNONZPEPHPKPLPTRORUSASESGTHTRUAUSVNZA"
)
_GROUP = re.compile(r"\(\\d(?:\{(\d+)(?:,(\d+))?\})?\)|\((?:\[[^\]]+\]|\d)+\)")

Plan = tuple[str, re.Pattern[str], tuple[re.Pattern[str], ...]]


def is_planned(groups: tuple[str, ...]) -> bool:
    """Return whether a country writes its numbers in these groups of digits."""
    digits = "".join(groups)
    for prefix, leading, kinds in _plans().get(tuple(map(len, groups)), ()):
        if not digits.startswith(prefix):
            continue
        number = digits[len(prefix) :]
        if leading.match(number) and any(kind.fullmatch(number) for kind in kinds):
            return True
    return False


@cache
def _plans() -> Mapping[tuple[int, ...], list[Plan]]:
    """Return the plans by the lengths of the groups, read at the first candidate."""
    plans: dict[tuple[int, ...], list[Plan]] = defaultdict(list)
    for country in re.findall("..", _COUNTRIES):
        metadata = PhoneMetadata.metadata_for_region(country)
        if metadata is None:
            continue
        kinds = tuple(
            re.compile(kind.national_number_pattern)
            for kind in (metadata.fixed_line, metadata.mobile)
            if kind is not None and kind.national_number_pattern
        )
        for written in metadata.number_format:
            prefix = _prefix(written, metadata)
            leading = re.compile((written.leading_digits_pattern or [""])[-1])
            for lengths in _lengths(written.pattern or ""):
                shape = (lengths[0] + len(prefix), *lengths[1:])
                plans[shape].append((prefix, leading, kinds))
    return plans


def _prefix(written: NumberFormat, metadata: PhoneMetadata) -> str:
    """Return the digits that are dialled before a national number."""
    rule = written.national_prefix_formatting_rule or ""
    before = re.sub(r"\D", "", rule.partition("\\1")[0])
    return before if before == (metadata.national_prefix or "") else ""


def _lengths(pattern: str) -> Iterator[tuple[int, ...]]:
    """Yield the lengths of the groups that a format can have."""
    groups = _GROUP.findall(pattern)
    if not groups or _GROUP.sub("", pattern) or ("", "") in groups[1:]:
        return
    ranges = [range(int(low or 1), int(high or low or 1) + 1) for low, high in groups]
    yield from product(*ranges)
