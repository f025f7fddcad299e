"""All engines find the same; every rule proves itself by its examples."""

import importlib
import re
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from octollm.errors import ScreeningUnavailableError
from reflex import engine as engine_module
from reflex.decide import Checkpoint
from reflex.detect import detect, matches_in
from reflex.engine import NAMES, build_engine, engine
from reflex.normalize import normalize
from reflex.rules import ASSIGN, END, Rule, load_rules
from reflex.validators import VALIDATORS
from tests.reflex.samples import SAMPLES

TABLE = load_rules()
ENGINES = {name: build_engine(name, TABLE.patterns) for name in NAMES}
TEXTS = [text for rule in TABLE.rules for text in (*rule.matches, *rule.misses)]
TEXTS += [sample["text"] for sample in SAMPLES]
AWKWARD = [
    "é" * 40 + "a@b.co",
    "日本4111111111111111語",
    "\ud800 ssn: 536323065",
    "\x00" * 9,
]


def found_by(name: str, text: str) -> set[str]:
    """Return the rules that find something in the text as it is or as it reads."""
    normalized = normalize(text)
    texts = (text, normalized.text) if normalized else (text,)
    return {
        match.rule.id
        for reading in texts
        for match in matches_in(reading, ENGINES[name], Checkpoint.REQUEST)
    }


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", TABLE.rules, ids=lambda rule: rule.id)
def test_rule_matches_its_examples_and_misses_the_others(rule, name):
    assert [text for text in rule.matches if rule.id not in found_by(name, text)] == []
    assert [text for text in rule.misses if rule.id in found_by(name, text)] == []


@pytest.mark.parametrize("name", ["re2", "re"])
def test_engines_agree_on_every_span(name):
    for text in TEXTS + AWKWARD:
        expected = detect(text, checkpoint=Checkpoint.REQUEST, by=ENGINES["hyperscan"])
        assert detect(text, checkpoint=Checkpoint.REQUEST, by=ENGINES[name]) == expected


@pytest.mark.parametrize("rule", TABLE.rules, ids=lambda rule: rule.id)
def test_rule_is_well_formed(rule):
    assert rule.matches
    assert rule.misses
    assert not rule.validator or rule.validator in VALIDATORS
    assert rule.is_value == (rule.family in {"pii", "secret", "literal"})


def test_rule_ids_are_unique():
    ids = [rule.id for rule in TABLE.rules]

    assert len(ids) == len(set(ids))


@pytest.mark.parametrize("rule", TABLE.rules, ids=lambda rule: rule.id)
def test_no_pattern_crosses_from_one_text_into_another(rule):
    for pattern in patterns_of(rule):
        assert not any(matched(node, END) for node in characters(pattern))
        if "\\x1f" not in pattern:
            assert not any(matched(node, ASSIGN) for node in characters(pattern))


def patterns_of(rule: Rule) -> list[str]:
    contexts = [c.pattern for c in (rule.preceded_by, rule.followed_by) if c]
    return [rule.pattern, *contexts]


def characters(pattern: str) -> Iterator[str]:
    """Yield every part of a pattern that stands for one character, as a pattern."""
    yield from re.findall(r"(?<!\\)\[(?:\\.|[^\]\\])+\]|\\[wWdDsS]|(?<!\\)\.", pattern)


def matched(part: str, character: str) -> bool:
    return re.fullmatch(part, character, re.DOTALL) is not None


def test_threads_scan_at_once_and_find_the_same():
    texts = [f"user{i}@example.org and 4111111111111111" for i in range(200)]

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda t: found_by("hyperscan", t), texts))

    assert found == [{"email", "card"}] * len(texts)


@pytest.mark.parametrize(
    ("missing", "taken"), [(("hyperscan",), "re2"), (("hyperscan", "re2"), "re")]
)
def test_next_engine_takes_over_where_a_library_is_missing(
    monkeypatch, missing: tuple[str, ...], taken: str
):
    real = importlib.import_module

    def import_module(name: str) -> Any:
        if name in missing:
            raise ImportError(name)
        return real(name)

    monkeypatch.setattr(importlib, "import_module", import_module)
    engine_module._chosen.cache_clear()
    try:
        assert engine().name == taken
    finally:
        engine_module._chosen.cache_clear()


def test_pattern_that_an_engine_refuses_is_an_error_of_ours():
    broken = TABLE.patterns[0].__class__(
        text="(", is_case_sensitive=False, rules=TABLE.patterns[0].rules
    )

    for name in NAMES:
        with pytest.raises(ScreeningUnavailableError, match=name):
            build_engine(name, [broken])


def test_patterns_raise_no_warning_in_python():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for rule in TABLE.rules:
            for pattern in patterns_of(rule):
                re.compile(pattern)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["ignore all ", "1-", "x@x.", "ab:", "eyJ", "://a:"])
def test_hostile_text_takes_linear_work(name, text):
    """Four times the text must not find more than about four times as much."""
    sizes = [len(ENGINES[name].scan((text * n).encode())) for n in (500, 2000)]

    assert sizes[1] <= 4 * sizes[0] + 100
