"""Reading a criterion in the words people use; what is not understood is ``None``.

A small grammar on purpose: a sentence that it does not understand wholly is left
alone, because half a meaning would be a guess.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from arms.services.judge.conditions import (
    All,
    Bounds,
    Condition,
    Counted,
    Equals,
    Exists,
    InRange,
    Matches,
    Mentions,
    NoPersonalData,
    ValidJson,
)
from arms.services.judge.wording import Wording, subject_of, tidy

MAX_LENGTH = 1_000

_NUMBER = r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?: ?%| percent)?"
_TO = r"(?: ?(?:to|and|-|\.\.\.?|through) ?)"
_WHOLE = r"(?:it|output|result|results|answer|response|outputs)"
_UNIT = r"(?P<unit>[a-z][a-z _-]{0,40}?)"
_PLACE = r"(?: (?:in|of|within|for) (?:the |its )?(?P<place>[a-z][a-z _-]{0,40}))?"
# Signs, then words; a word must not be the end of another, as “over” in “moreover”.
_COMPARISONS = {
    ">=": (
        r">=|=>",
        r"at least|no less than|not less than|no fewer than|not fewer than|"
        r"(?:a )?minimum(?: of)?|greater than or equal to|more than or equal to|"
        r"not (?:fall |be |drop )?(?:below|under)|"
        r"never (?:fall |be |drop )?(?:below|under)",
    ),
    "<=": (
        r"<=|=<",
        r"at most|no more than|not more than|no longer than|not longer than|"
        r"no greater than|not greater than|(?:a )?maximum(?: of)?|up to|"
        r"less than or equal to|fewer than or equal to|"
        r"(?:not|never) exceeds?|(?:not|never) (?:be )?(?:above|over)",
    ),
    ">": (
        r">",
        r"more than|greater than|higher than|larger than|over|above|exceeds?|"
        r"exceeding|longer than",
    ),
    "<": (
        r"<",
        r"less than|fewer than|lower than|smaller than|under|below|shorter than",
    ),
    "=": (r"==?", r"equals?|equal to|exactly"),
}
_COMPARISON = "|".join(
    rf"(?P<op{place}>{signs}|(?<![a-z])(?:{words}))"
    for place, (signs, words) in enumerate(_COMPARISONS.values())
)
_OPERATORS = tuple(_COMPARISONS)
_PERSONAL = {
    "": r"pii|personal data|personal information|personally identifiable information|"
    r"personal details|private data|private information|sensitive personal data",
    "EMAIL": r"e-?mails?|e-?mail addresses|e-?mail address",
    "PHONE": r"phone numbers?|telephone numbers?",
}
_PERSONAL_WORDS = "|".join(
    f"(?P<type{place}>{words})" for place, words in enumerate(_PERSONAL.values())
)
_PERSONAL_TYPES = tuple(_PERSONAL)


# “and” joins conditions, but not the ends of a range or two quotations.
_JOINED = re.compile(r"(?<!§\d)(?:,|;)? and |(?<!§\d), (?!§)|; ?")
_AND_OF_A_RANGE = re.compile(rf"(between {_NUMBER}) and ({_NUMBER})")


def parse(criterion: str) -> Condition | None:
    """Return what the criterion means, or nothing when it cannot be computed."""
    if len(criterion) > MAX_LENGTH:
        return None
    wording = tidy(criterion)
    whole = _parse_one(wording.text, wording)
    if whole is not None:
        return whole
    parts = _JOINED.split(_AND_OF_A_RANGE.sub(r"\1 to \2", wording.text))
    conditions = tuple(_parse_one(part.strip(), wording) for part in parts)
    if len(parts) == 1 or not any(conditions):
        return None
    return All(parts=conditions)


def _parse_one(text: str, wording: Wording) -> Condition | None:
    """Return the meaning of one sentence without “and”."""
    for reader in _READERS:
        condition = reader(text, wording)
        if condition is not None:
            return condition
    return None


def _no_personal_data(text: str, wording: Wording) -> Condition | None:
    """Read “No PII in output”, “does not contain personal data”, “PII-free”."""
    match = _NO_PII.fullmatch(text.replace("(", "").replace(")", ""))
    if match is None:
        return None
    named = next(
        (
            _PERSONAL_TYPES[place]
            for place in range(len(_PERSONAL_TYPES))
            if match.group(f"type{place}")
        ),
        "",
    )
    return NoPersonalData(types=frozenset({named} if named else ()))


_NO_PII = re.compile(
    rf"(?:(?:the )?(?:final )?{_WHOLE} )?(?:there )?(?:is |are |be )?"
    r"(?:(?:contains?|includes?|has|have|with|shows?|reveals?|exposes?|use) )?"
    r"(?:not? |without |free (?:of|from) |"
    r"(?:not|never) (?:contain|include|have|reveal|expose|show|leak|be|use|store) |"
    r"(?:remove|redact|mask|conceal|hide|exclude|avoid|omit) )"
    rf"(?:any |all )?(?:{_PERSONAL_WORDS})(?: (?:pii|data|values))?"
    rf"(?: (?:is|are|be)? ?(?:leaked|exposed|shown|revealed|present|included))?"
    rf"(?: (?:in|inside|within|from) (?:the )?(?:final )?{_WHOLE})?"
    r"|(?:pii|personal data)[- ]free"
)


def _valid_json(text: str, wording: Wording) -> Condition | None:
    """Read “valid JSON”, “the output is valid JSON”."""
    match = re.fullmatch(
        r"(?P<subject>.*?) ?(?:\b(?:is|are|be|in|as))? ?(?:a )?\b(?:valid|well-formed) json"
        r"(?: (?:object|format|document))?",
        text,
    )
    subject = subject_of(match["subject"]) if match else None
    return None if subject is None else ValidJson(subject=subject)


def _between(text: str, wording: Wording) -> Condition | None:
    """Read “score between -1 and 1”, “score -1 to 1”, “3 to 5 keywords”."""
    match = _BETWEEN.fullmatch(text) or _CHAINED.fullmatch(text)
    if match is None:
        return None
    found = match.groupdict()
    bounds = Bounds(
        low=_number(found["low"]),
        high=_number(found["high"]),
        excludes_low=found.get("left") == "<" or "exclusive" in text,
        excludes_high=found.get("right") == "<" or "exclusive" in text,
        is_percent=_is_percent(found["low"]) or _is_percent(found["high"]),
    )
    if bounds.low is None or bounds.high is None or bounds.low > bounds.high:
        return None
    return _measured(found, bounds)


_BETWEEN = re.compile(
    rf"(?P<subject>.*?)[ :=]*(?:\(|\[)?(?:(?:\b(?:is|are|be|lies?|falls?|stays?|ranges?))? ?)"
    rf"(?:between|from|within|inside|in|in the range(?: of)?|in range|range(?: of)?|"
    rf"within the range(?: of)?)? ?(?:\[|\()?(?P<low>{_NUMBER})(?:{_TO}|, ?)"
    rf"(?P<high>{_NUMBER})(?:\)|\])?(?: \(?(?:inclusive|exclusive)\)?)?"
    rf"(?: {_UNIT}{_PLACE})?"
)
_CHAINED = re.compile(
    rf"(?P<low>{_NUMBER}) ?(?P<left><=?) ?(?P<subject>[a-z].*?) ?(?P<right><=?) ?"
    rf"(?P<high>{_NUMBER})"
)


def _compared(text: str, wording: Wording) -> Condition | None:
    """Read “coverage >= 80%”, “at least 5 keywords”, “summary under 100 words”."""
    match = _COMPARED.fullmatch(text)
    if match is None:
        return _compared_afterwards(text)
    operator = next(
        _OPERATORS[place]
        for place in range(len(_OPERATORS))
        if match.group(f"op{place}")
    )
    return _measured(match.groupdict(), _bounds(operator, match["limit"]))


_COMPARED = re.compile(
    rf"(?P<subject>.*?) ?(?:\b(?:is|are|be|has|have|contains?|includes?|of|with) )?"
    rf"(?:{_COMPARISON}) ?(?P<limit>{_NUMBER})(?: ?{_UNIT}{_PLACE})?"
)


def _compared_afterwards(text: str) -> Condition | None:
    """Read “5 or more keywords”, “5+ keywords”, “100 words or less”."""
    match = _COMPARED_AFTERWARDS.fullmatch(text)
    if match is None:
        return None
    found = match.groupdict()
    words = found["way"] or found["way_after"] or ""
    if bool(found["way"]) == bool(found["way_after"]):
        return None
    grows = words in ("+", "or more", "or higher", "or above", "minimum", "at least")
    return _measured(found, _bounds(">=" if grows else "<=", found["limit"]))


_WAY = (
    r"\+|or more|or higher|or above|or less|or fewer|or lower|or below|"
    r"at most|at least|maximum|minimum|max"
)
_COMPARED_AFTERWARDS = re.compile(
    rf"(?P<subject>.*?) ?(?:\b(?:is|are|be|has|have|contains?|includes?|of|with) )?"
    rf"(?P<limit>{_NUMBER}) ?(?P<way>{_WAY})?(?: ?{_UNIT})?(?: (?P<way_after>{_WAY}))?"
    rf"{_PLACE}"
)


def _measured(found: dict[str, str | None], bounds: Bounds) -> Condition | None:
    """Return a count if a unit is named, a range of a field's value otherwise."""
    place, unit = found.get("place") or "", (found.get("unit") or "").strip()
    words = found.get("subject") or ""
    # A sign that the number left behind would change what it says.
    subject = None if words.endswith(("-", "+")) else subject_of(words)
    of_place = subject_of(place)
    if subject is None or of_place is None or (subject and of_place):
        return None
    subject = subject or of_place
    if unit:
        if subject_of(unit) is None:
            return None
        return Counted(subject=subject, unit=unit, bounds=bounds)
    return InRange(subject=subject, bounds=bounds) if subject else None


def _bounds(operator: str, limit: str) -> Bounds:
    """Return the numbers on the right side of the limit."""
    number, is_percent = _number(limit), _is_percent(limit)
    if operator == "=":
        return Bounds(low=number, high=number, is_percent=is_percent)
    if operator.startswith(">"):
        return Bounds(low=number, excludes_low=operator == ">", is_percent=is_percent)
    return Bounds(high=number, excludes_high=operator == "<", is_percent=is_percent)


def _number(text: str | None) -> float | None:
    """Return the number without its percent sign and commas."""
    cleaned = re.sub(r"[,% ]|percent", "", text or "")
    return float(cleaned) if cleaned else None


def _is_percent(text: str | None) -> bool:
    """Say whether the number is written in percent."""
    return bool(text) and ("%" in str(text) or "percent" in str(text))


def _matches(text: str, wording: Wording) -> Condition | None:
    """Read “id matches /^[a-z]+$/”."""
    match = _MATCHES.fullmatch(text)
    subject = subject_of(match["subject"]) if match else None
    if match is None or subject is None:
        return None
    return Matches(
        subject=subject,
        pattern=wording.original(match["token"]),
        is_negated=bool(match["negated"]),
    )


_MATCHES = re.compile(
    r"(?P<subject>.*?) ?(?P<negated>\bnot )?\bmatch(?:es|ing)? "
    r"(?:the )?(?:regex |regexp |pattern |regular expression )?(?P<token>§\d+)"
)


def _mentions(text: str, wording: Wording) -> Condition | None:
    """Read “mentions 'battery'”, “summary does not contain 'x' or 'y'”."""
    match = _MENTIONS.fullmatch(text)
    subject = subject_of(match["subject"] or match["place"] or "") if match else None
    if match is None or subject is None:
        return None
    joined = match["texts"]
    if wording.has_pattern(joined) or re.fullmatch(r"[^a-z]*,[^a-z]*", joined):
        return None  # with commas alone it does not say whether all are meant
    is_negated = bool(match["negated"])
    return Mentions(
        subject=subject,
        texts=wording.texts(joined),
        # “neither a nor b” forbids each of them.
        needs_all=" or " not in joined and not is_negated,
        is_negated=is_negated,
    )


_MENTION = (
    r"(?:mention(?:s|ing|ed)?|contain(?:s|ing)?|includ(?:e|es|ing)|refers? to|says?)"
)
_MENTIONS = re.compile(
    rf"(?P<subject>.*?) ?(?P<negated>\b(?:not|never|no) )?\b{_MENTION}(?: of)? "
    r"(?:at least one of |any of |the )?(?:words? |phrases? |texts? |terms? |strings? )?"
    r"(?P<texts>§\d+(?:(?:, (?:and|or) |, | and | or )§\d+)*)"
    r"(?: in (?:the )?(?P<place>[a-z][a-z _-]{0,40}))?"
)


def _mentions_bare_words(text: str, wording: Wording) -> Condition | None:
    """Read “mentions battery life”: without quotes, so met only if it is there."""
    match = re.fullmatch(
        r"(?P<subject>.*?) ?(?P<negated>\b(?:not|never|no) )?"
        r"\bmention(?:s|ing|ed)?(?: of)? (?:the )?(?P<words>[^\W\d_][\w '-]{0,60})",
        text,
    )
    subject = subject_of(match["subject"]) if match else None
    if match is None or subject is None or re.search(r"\b(or|and)\b", match["words"]):
        return None
    return Mentions(
        subject=subject,
        texts=(match["words"],),
        is_negated=bool(match["negated"]),
        is_literal=False,
    )


def _equals(text: str, wording: Wording) -> Condition | None:
    """Read “label is 'positive'”, “is_valid is true”, “count = 5”."""
    match = _EQUALS.fullmatch(text)
    subject = subject_of(match["subject"]) if match else None
    if match is None or not subject:
        return None
    return Equals(
        subject=subject,
        value=wording.original(match["value"]),
        is_negated=bool(match["negated"]),
        is_literal=match["value"].startswith("§") or match["verb"] not in _COPULAS,
    )


_COPULAS = ("is", "are", "be")
_EQUALS = re.compile(
    r"(?P<subject>.+?) ?(?P<verb>==?|\b(?:is equal to|equals?|is|are|be)\b) ?"
    rf"(?P<negated>not )?(?P<value>§\d+|{_NUMBER}|[a-z_]{{2,30}})"
)


def _exists(text: str, wording: Wording) -> Condition | None:
    """Read “summary is not empty”, “includes a summary”, “has keywords”."""
    match = _IS_THERE.fullmatch(text) or _INCLUDES.fullmatch(text)
    subject = subject_of(match["subject"]) if match else None
    return Exists(subject=subject) if subject else None


_IS_THERE = re.compile(
    r"(?P<subject>.+?) (?:is|are|be) (?:not empty|non-empty|present|there|given|provided)"
)
_INCLUDES = re.compile(
    rf"(?:(?:the )?{_WHOLE} )?(?:includes?|contains?|has|have|provides?|gives?|returns?) "
    r"(?:an? |the )?(?P<subject>[a-z_]+(?: [a-z_]+){0,2})"
)

_Reader = Callable[[str, Wording], Condition | None]
_READERS: tuple[_Reader, ...] = (
    _no_personal_data,
    _valid_json,
    _matches,
    _mentions,
    _between,
    _compared,
    _mentions_bare_words,
    _exists,
    _equals,
)
