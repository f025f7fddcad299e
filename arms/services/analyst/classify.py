"""Labels by word rules: a text gets each label of which it holds a word."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from arms.services.analyst.texts import Check, in_batches
from octollm.errors import ArmInputError, MissingInputError
from octollm.types import JSONValue

NAME = "word rules"
MAX_LABELS = 100
MAX_WORDS = 2_000
_TOKEN = re.compile(r"\w+")


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A label and what calls for it.

    Attributes:
        phrases: words and phrases, in lower case and with single spaces.
        beginnings: what words begin with, from rules such as ``batter*``.
    """

    label: str
    phrases: frozenset[str]
    beginnings: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Labelled:
    """The labels of one text and the words that called for them, both sorted."""

    labels: tuple[str, ...]
    matched: tuple[str, ...]


def read_rules(value: JSONValue) -> tuple[Rule, ...]:
    """Return the rules in an object of words by label.

    Raises:
        MissingInputError: there are none.
        ArmInputError: they have another shape or are too many.
    """
    if not value:
        raise MissingInputError(
            "There are no rules: supply “rules”, such as "
            '{"delivery": ["late", "parcel"], "quality": ["broke*"]}.'
        )
    if not isinstance(value, dict):
        raise ArmInputError("“rules” must be an object: for each label its words.")
    rules = tuple(_rule(label, words) for label, words in value.items())
    if len(rules) > MAX_LABELS:
        raise ArmInputError(f"“rules” holds more than {MAX_LABELS} labels.")
    if sum(len(rule.phrases) + len(rule.beginnings) for rule in rules) > MAX_WORDS:
        raise ArmInputError(f"“rules” holds more than {MAX_WORDS:,} words.")
    return rules


def _rule(label: str, words: JSONValue) -> Rule:
    """Read the words of one label; a text is split at its commas."""
    given = words.split(",") if isinstance(words, str) else words
    if not isinstance(given, list):
        raise ArmInputError("Each label in “rules” needs a list of words.")
    texts = [word.strip() for word in given if isinstance(word, str) and word.strip()]
    if len(texts) < len(given) or not texts:
        raise ArmInputError("Each label in “rules” needs a list of words.")
    return Rule(
        label=label,
        phrases=frozenset(_normal(text) for text in texts if not text.endswith("*"))
        - {""},
        beginnings=tuple(
            beginning
            for text in texts
            if text.endswith("*") and (beginning := _normal(text[:-1]))
        ),
    )


def classify(
    texts: Iterable[str], rules: tuple[Rule, ...], *, check: Check
) -> list[Labelled]:
    """Return the labels of each text; ``check`` is asked between batches."""
    return [_labelled(text, rules) for text in in_batches(texts, check=check)]


def _labelled(text: str, rules: tuple[Rule, ...]) -> Labelled:
    """Find what of each rule the text holds."""
    tokens = _TOKEN.findall(text.casefold())
    known, spaced = frozenset(tokens), f" {' '.join(tokens)} "
    hits = [(rule.label, hit) for rule in rules for hit in _hits(rule, known, spaced)]
    return Labelled(
        labels=tuple(sorted({label for label, _ in hits})),
        matched=tuple(sorted({hit for _, hit in hits})),
    )


def _hits(rule: Rule, known: frozenset[str], spaced: str) -> set[str]:
    """Return the words and phrases of a rule that a text holds."""
    hits = {
        phrase
        for phrase in rule.phrases
        if (phrase in known if " " not in phrase else f" {phrase} " in spaced)
    }
    if rule.beginnings:
        hits.update(word for word in known if word.startswith(rule.beginnings))
    return hits


def _normal(text: str) -> str:
    """Return a rule's text as tokens are compared."""
    return " ".join(_TOKEN.findall(text.casefold()))
