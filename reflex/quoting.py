"""Tell talk about an attack from an attack.

"How do I detect 'ignore previous instructions'?" quotes one. What counts is what
stands right beside the quoted words: a harmless sentence elsewhere in the text
must not disarm an attack.
"""

from __future__ import annotations

import re

_NEAR = 80
# Straight ones, then the curly, angled and corner ones of other languages.
_OPENING = "\"'`\u201c\u2018\u00ab\u201e\u300c"
_CLOSING = "\"'`\u201d\u2019\u00bb\u201c\u300d"
# An apostrophe within a word opens and closes nothing.
_OPENS = re.compile(rf"(?<!\w)[{_OPENING}](?=\S|\Z)")
_CLOSES = re.compile(rf"[{_CLOSING}](?!\w)")
# What one says before or after words that one only mentions.
_MENTION = (
    r"detect\w*|recogni[sz]\w*|spot|filter\w*|phrases?|sentences?|strings?|wording|words"
    r"|texts? like|such as|like|called|named|titled|example|e\.g\.|means?|meaning|translate\w*"
    r"|explain\w*|attacks?|injections?|jailbreaks?|says?|said|quot\w+|regex|pattern|prompts? like"
)
_BEFORE = re.compile(rf"\b(?:{_MENTION})\b[^.!?\n]{{0,40}}\Z", re.IGNORECASE)
_AFTER = re.compile(
    rf"[^.!?\n\w]{{0,4}}[^.!?\n]{{0,40}}\b(?:{_MENTION})\b", re.IGNORECASE
)
_NOUN_AFTER = re.compile(
    rf"[{_CLOSING} -]{{0,3}}(?:style[ -])?(?:attacks?|injections?|attempts?|jailbreaks?|phrases?|strings?|payloads?)\b",
    re.IGNORECASE,
)

# "Don't ignore" orders nothing, nor does a question about what oneself or others do:
# "is it rude to ignore", "can I ignore"; but "can you ignore" asks for it.
_NOT_ORDERED = re.compile(
    r"\b(?:(?:do not|don't|never|must not|mustn't|should not|shouldn't)(?: ever)?"
    r"|(?:is|was|be|it's|isn't) (?:it )?[a-z]+ to|(?:can|should|may|could|shall|must|do|did|if|when|what if) (?:i|we|they|he|she|people|users)"
    r"|how (?:do i|do we|can i|to)|why (?:do|does|did)(?: [a-z]+){1,2}|i|he|she|they|people|often|users|tend to|tends to) \Z",
    re.IGNORECASE,
)


def is_discussed(text: str, start: int, end: int, *, family: str = "") -> bool:
    """Return whether the words from ``start`` to ``end`` are only talked about.

    Args:
        text: all of it.
        start: of the words.
        end: of the words.
        family: of the rule that found them; "do not ignore" orders no override.
    """
    # A match may begin with the quotation mark itself.
    while start < end and not text[start].isalnum():
        start += 1
    if family == "override" and _NOT_ORDERED.search(text, max(0, start - 40), start):
        return True
    after = text[end : end + _NEAR]
    if _NOUN_AFTER.match(after):
        return True
    before = text[max(0, start - _NEAR) : start]
    openings = list(_OPENS.finditer(before))
    closing = _CLOSES.search(after)
    if not openings or closing is None:
        return False
    # A quotation that ended before is one of other words.
    if _CLOSES.search(before, openings[-1].end()):
        return False
    return bool(
        _BEFORE.search(before[: openings[-1].start()])
        or _AFTER.match(after[closing.end() :])
    )
