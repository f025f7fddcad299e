"""All engines find the same; every rule proves itself by its examples."""

import pytest

from reflex.decide import Checkpoint
from reflex.detect import detect, matches_in
from reflex.engine import NAMES, build_engine
from reflex.rules import load_rules

RULES = load_rules().rules
ENGINES = {name: build_engine(name, RULES) for name in NAMES}
TEXTS = [text for rule in RULES for text in (*rule.matches, *rule.misses)]


def found_by(name: str, text: str) -> set[str]:
    return {m.rule.id for m in matches_in(text, ENGINES[name], Checkpoint.REQUEST)}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.id)
def test_rule_matches_its_examples_and_misses_the_others(rule, name):
    assert [text for text in rule.matches if rule.id not in found_by(name, text)] == []
    assert [text for text in rule.misses if rule.id in found_by(name, text)] == []


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hyperscan"])
def test_engines_agree_on_every_span(name):
    for text in TEXTS:
        expected = detect(text, checkpoint=Checkpoint.REQUEST, by=ENGINES["hyperscan"])
        assert detect(text, checkpoint=Checkpoint.REQUEST, by=ENGINES[name]) == expected
