"""Making a criterion's words comparable: quotes taken out, modals and accents gone."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_QUOTED = re.compile(
    r"“([^”]{1,200})”|\"([^\"]{1,200})\"|`([^`]{1,200})`"
    r"|\u2018([^\u2019]{1,200})\u2019|(?<!\w)'([^']{1,200})'(?!\w)"
    r"|(?<=\s)/((?:[^/\\]|\\.){1,300})/(i?)(?=\s|$)"
)
_SIGNS = str.maketrans(
    {
        "\u2212": "-",
        "\u2013": "-",
        "—": "-",
        "≥": ">=",
        "≤": "<=",
        "\u2019": "'",
        "…": "...",
    }
)
_NEGATIONS = re.compile(
    r"\b(?:doesn't|don't|mustn't|shouldn't|isn't|aren't|can't|cannot|won't)\b"
)
_MODALS = re.compile(
    r"\b(?:must|should|shall|has to|have to|needs? to|ought to|will|may|can|does|do)\b ?"
)
_OPENING = re.compile(
    r"(?:please )?(?:make sure|ensure|check|verify|confirm)(?: that)? |there (?:is|are) "
)
_SMALL_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve"
_NUMBER_WORDS = {
    word: str(number) for number, word in enumerate(_SMALL_NUMBERS.split())
}
_NUMBER_WORD = re.compile(rf"\b(?:{'|'.join(_NUMBER_WORDS)})\b")
# In front of a field's name these say nothing; behind it neither.
_LEADING = re.compile(
    r"(?:(?:the|a|an|its|your|final|overall|output's|result's|that|return|give|provide|"
    r"report|compute|calculate|produce|include|includes|contains?|extract|find|show|get|"
    r"list|identify|has|have|with|value of|value for) )+"
)
_TRAILING = re.compile(
    r"(?: (?:is|are|be|was|were|has|have|lies?|falls?|stays?|remains?|ranges?|range|"
    r"contains?|includes?|value|field|with|of|in|=|:|\(|not))+$"
)
_WHOLE_WORDS = (
    "it output outputs result results response the list provide give return report "
    "extract find show get include includes contain contains has have identify with"
)
_WHOLE = frozenset(_WHOLE_WORDS.split())
# Words that make a meaning which the grammar does not have.
_UNREADABLE = re.compile(
    r"\b(?:if|unless|when|while|except|each|every|per|all|both|any|some|or|nor|either|neither|only|"
    r"because|than|not|never|no|without|but|and|compared)\b|[§<>=\[\]{}?!]"
)


@dataclass(frozen=True, kw_only=True)
class Wording:
    """A criterion in comparable words; ``§0`` stands for the first quotation.

    Attributes:
        quotations: what was quoted, in order, as it was written.
        patterns: which quotations are regular expressions.
    """

    text: str
    quotations: tuple[str, ...] = ()
    patterns: frozenset[int] = field(default_factory=frozenset)

    def texts(self, tokens: str) -> tuple[str, ...]:
        """Return the quotations that the tokens stand for, in order."""
        return tuple(self.quotations[int(n)] for n in re.findall(r"§(\d+)", tokens))

    def has_pattern(self, tokens: str) -> bool:
        """Say whether one of the tokens stands for a regular expression."""
        return any(int(n) in self.patterns for n in re.findall(r"§(\d+)", tokens))

    def original(self, value: str) -> str:
        """Return the quotation if the value is a token, the value otherwise."""
        return self.texts(value)[0] if value.startswith("§") else value


def tidy(criterion: str) -> Wording:
    """Return the criterion in lower case without quotations, modals and full stop."""
    quotations: list[str] = []
    patterns: set[int] = set()

    def keep(match: re.Match[str]) -> str:
        *texts, pattern, flag = match.groups()
        if pattern is not None:
            patterns.add(len(quotations))
        found = next((text for text in (*texts, pattern) if text is not None), "")
        quotations.append(f"(?i){found}" if flag else found)
        return f" §{len(quotations) - 1} "

    text = _QUOTED.sub(keep, criterion.replace("§", " "))
    text = _NEGATIONS.sub("not", text.lower().translate(_SIGNS))
    text = _MODALS.sub("", re.sub(r"\s+", " ", text).strip())
    text = _NUMBER_WORD.sub(lambda match: _NUMBER_WORDS[match.group()], text)
    text = re.sub(r"\b(?:minus|negative) (?=\d)", "-", text)
    text = _OPENING.sub("", text, count=1) if _OPENING.match(text) else text
    return Wording(
        text=re.sub(r" +([,;])", r"\1", text).strip(" .!;"),
        quotations=tuple(quotations),
        patterns=frozenset(patterns),
    )


def subject_of(words: str) -> str | None:
    """Return the field that the words name, empty for the whole result.

    ``None`` means that the words say more than a field's name.
    """
    name = words.strip(" :(=")
    name = _LEADING.sub("", name) if _LEADING.match(name) else name
    name = _TRAILING.sub("", f" {name}").strip(" :(=")
    if name in _WHOLE:
        return ""
    if len(name) > 60 or len(name.split()) > 6 or _UNREADABLE.search(name):
        return None
    return name
