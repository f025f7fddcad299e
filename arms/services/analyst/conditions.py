"""Conditions on the rows of a table: as given, or as a question words them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date

from arms.services.analyst.dates import read_dates
from arms.services.analyst.measures import column_of
from arms.services.analyst.questions import read_items
from arms.services.analyst.tables import Cell, Column, Table, read_cell
from octollm.errors import ArmInputError
from octollm.types import JSONObject, JSONValue

OPERATORS = (
    *("=", "!=", ">", ">=", "<", "<="),
    *("contains", "lacks", "missing", "present"),
)
_MAX_CONDITIONS = 100
_MAX_VALUE_WORDS = 20
_ORDER: Mapping[str, Callable[[float, float], bool]] = {
    ">": lambda one, other: one > other,
    ">=": lambda one, other: one >= other,
    "<": lambda one, other: one < other,
    "<=": lambda one, other: one <= other,
}
# The first that fits counts, so longer wordings stand before shorter ones.
_WORDINGS = {
    "present": r"not (?:missing|empty|blank|null)|present|filled(?: in)?|known",
    "missing": r"missing|empty|blank|null|unknown",
    ">=": r">=|=>|≥|at least|no less than|not less than|not below|not under",
    "<=": r"<=|=<|≤|at most|no more than|not more than|not above|not over|up to",
    "lacks": r"(?:does not|doesn't|do not|don't|not) contain|lacks|without",
    "!=": r"!=|<>|≠|not equal to|not|other than",
    ">": r">|(?:more|greater|higher|larger|later|bigger) than|over|above|exceed(?:s|ing)?"
    r"|after",
    "<": r"<|(?:less|fewer|lower|smaller|earlier) than|under|below|before",
    "contains": r"contain(?:s|ing)?|include?(?:s|ing)?|mention(?:s|ing)?",
    "=": r"==?|equals?(?: to)?|exactly|:",
}
_WORDING = "|".join(
    f"(?P<op{place}>{words})" for place, words in enumerate(_WORDINGS.values())
)
_VALUE = (
    r"[\"“](?P<quoted>[^\"”]{1,200})[\"”]|'(?P<single>[^']{1,200})'|"
    r"(?P<plain>[^\s,;](?:[^,;\"“”]|(?<=\d),(?=\d)){0,200}?)"
)
_STOP = (
    r"(?=\s+(?:and|or|but|sorted|ordered)\b|\s*[;?\n]|\s*,(?!\d)|\s*[.!]?\s*\Z|[.!]\s)"
)
_CONDITION = re.compile(
    rf"\s*(?:(?P<is>(?:is|are|was|were|has|have|of)\b)\s*)?(?:(?:{_WORDING})(?:(?<=\W)|\b))?"
    rf"\s*(?:(?:{_VALUE}){_STOP})?",
    re.IGNORECASE,
)
_BETWEEN = re.compile(
    r"\s*(?:is |are )?(?:between|from)\s+(?P<low>\S{1,40})\s+(?:and|to)\s+"
    r"(?P<high>\S{1,40}?)(?=[,;?!]|\.?\s|\.?\Z)",
    re.IGNORECASE,
)
_OR_MORE = re.compile(r"(\S+) or (?:more|higher|above|greater|over|later)\b", re.I)
_OR_LESS = re.compile(r"(\S+) or (?:less|lower|below|fewer|under|earlier)\b", re.I)
_OR = re.compile(r"\bor\b", re.I)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """What a cell of a column has to be; ``value`` is none for missing and present."""

    column: Column
    operator: str
    value: Cell

    @property
    def words(self) -> str:
        """Return the condition as it is reported."""
        value = self.value
        if isinstance(value, float) and value.is_integer():
            value = f"{value:.0f}"
        shown = "" if value is None else f" {str(value)[:100]}"
        return f"{self.column.name} {self.operator}{shown}"


def read_conditions(table: Table, value: JSONValue) -> list[Condition]:
    """Return the conditions in a list of {column, operator, value}, or in one.

    Raises:
        ArmInputError: one has another shape, or there is no such column.
    """
    members = [value] if isinstance(value, dict) else value
    if not isinstance(members, list) or len(members) > _MAX_CONDITIONS:
        raise ArmInputError("“where” must be a list of {column, operator, value}.")
    return [_condition(table, member) for member in members]


def _condition(table: Table, member: JSONValue) -> Condition:
    given: JSONObject = member if isinstance(member, dict) else {}
    column, operator = given.get("column"), given.get("operator", "=")
    if not isinstance(column, str) or operator not in OPERATORS:
        known = " ".join(OPERATORS)
        raise ArmInputError(f"A condition needs a column and an operator of {known}.")
    needs_value = operator not in ("missing", "present")
    wanted = read_cell(given.get("value")) if needs_value else None
    if needs_value and wanted is None:
        raise ArmInputError(f"A condition with {operator} needs a value.")
    return Condition(
        column=column_of(table, column), operator=str(operator), value=wanted
    )


def asked_conditions(table: Table, question: str) -> list[Condition]:
    """Return the conditions that a question words, such as “price is over 100”.

    Raises:
        ArmInputError: it offers a choice with “or”, which is not understood.
    """
    plain = _OR_LESS.sub(r"at most \1", _OR_MORE.sub(r"at least \1", question))
    found = []
    for item in read_items(table, plain):
        if isinstance(item.what, Column):
            found += _worded(item.what, plain, item.end)
    if found and _OR.search(plain):
        raise ArmInputError(
            "“or” in a question is not understood: give “where” and match: any."
        )
    return found[:_MAX_CONDITIONS]


def _worded(column: Column, question: str, start: int) -> list[Condition]:
    """Return what is said of a column behind its name."""
    between = _BETWEEN.match(question, start)
    if between is not None:
        ends = ((">=", between["low"]), ("<=", between["high"]))
        return [
            Condition(column=column, operator=operator, value=read_cell(end))
            for operator, end in ends
        ]
    match = _CONDITION.match(question, start)
    if match is None:
        return []
    operator = _operator(match)
    if operator in ("missing", "present"):
        return [Condition(column=column, operator=operator, value=None)]
    quoted = match["quoted"] or match["single"]
    value = read_cell(quoted) if quoted else _meant(column, match["plain"] or "")
    # “Price of 100” is a condition; “name of the product” is none.
    is_name = (match["is"] or "").casefold() == "of" and column.type != "number"
    if not operator or value is None or is_name:
        return []
    return [Condition(column=column, operator=operator, value=value)]


def _operator(match: re.Match[str]) -> str:
    worded = (name for at, name in enumerate(_WORDINGS) if match[f"op{at}"])
    return next(worded, "=" if match["is"] else "")


def _meant(column: Column, text: str) -> Cell:
    """Return which of the words that follow are the value: “100” of “100 dollars”."""
    text = text.rstrip(".!?")
    words = text.split()[:_MAX_VALUE_WORDS]
    if column.type == "number":
        number = read_cell(words[0]) if words else None
        return number if isinstance(number, float) else None
    known = {_text(cell) for cell in column.present}
    for size in range(len(words), 0, -1):
        value = read_cell(" ".join(words[:size]))
        if _text(value) in known:
            return value
    return read_cell(text)


def matching(condition: Condition) -> list[bool]:
    """Return for each row whether its cell meets the condition.

    Texts are compared without case. Larger and smaller are said of numbers and of
    dates; no other cell is either.
    """
    cells, wanted = condition.column.cells, condition.value
    if condition.operator in ("missing", "present"):
        return [(cell is None) == (condition.operator == "missing") for cell in cells]
    if condition.operator in ("contains", "lacks"):
        part, is_wanted = _text(wanted), condition.operator == "contains"
        return [
            cell is not None and (part in _text(cell)) == is_wanted for cell in cells
        ]
    if condition.operator in ("=", "!="):
        is_wanted = condition.operator == "="
        return [cell is not None and _same(cell, wanted) == is_wanted for cell in cells]
    return _compared(cells, condition.operator, wanted)


def _compared(cells: tuple[Cell, ...], operator: str, wanted: Cell) -> list[bool]:
    compare = _ORDER[operator]
    if isinstance(wanted, float) and any(isinstance(cell, float) for cell in cells):
        return [isinstance(cell, float) and compare(cell, wanted) for cell in cells]
    *days, limit = read_dates((*cells, wanted))
    if limit is None:
        return [False] * len(cells)
    return [day is not None and compare(_ordinal(day), _ordinal(limit)) for day in days]


def _ordinal(day: date) -> float:
    return float(day.toordinal())


def _text(cell: Cell) -> str:
    if isinstance(cell, float) and cell.is_integer():
        return f"{cell:.0f}"
    return str(cell).casefold()


def _same(cell: Cell, wanted: Cell) -> bool:
    if isinstance(cell, float) and isinstance(wanted, float):
        return cell == wanted
    return _text(cell) == _text(wanted)
