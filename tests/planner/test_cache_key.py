"""The cache's key: every part of a request counts, and only what is no part does not."""

from __future__ import annotations

import dataclasses
import unicodedata
from collections.abc import Callable
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planner import prompts
from planner.cache_key import cache_key
from planner.grants import Grants
from planner.plan import PlanningContract
from tests.planner.cases import ANALYST, CATALOGUE, make_contract

WORDS = st.text(
    st.characters(exclude_categories=("Cs", "Cc", "Zs", "Zl", "Zp", "Cn")), min_size=1
)
TEXTS = st.lists(WORDS, min_size=1, max_size=5).map(" ".join)
CONTEXTS = st.dictionaries(
    WORDS, st.one_of(TEXTS, st.integers(), st.lists(TEXTS, max_size=4)), max_size=4
)
NAMES = st.frozensets(st.sampled_from(["*", "analyst", "pytest", "example.org"]))
GRANTS = ("arms", "tools", "commands", "hosts")
PARTS: dict[str, st.SearchStrategy[Any]] = {
    "goal": TEXTS,
    "constraints": st.lists(TEXTS, max_size=3).map(tuple),
    "acceptance_criteria": st.lists(TEXTS, max_size=3).map(tuple),
    "context": CONTEXTS,
    "max_cost_usd": st.decimals(0, 100, places=6),
    "max_time_s": st.floats(1, 10_000),
    "max_tokens": st.integers(1, 1_000_000),
    "assigned_arm": st.none() | st.sampled_from(["analyst", "coder"]),
    "knowledge_scope": st.none() | st.uuids(),
    "away": st.dictionaries(st.sampled_from(["analyst", "coder"]), TEXTS),
    "grants": st.none() | st.builds(Grants, **dict.fromkeys(GRANTS, NAMES)),
    "model": st.sampled_from(["", "wise-7b", "wiser-9b"]),
    "approved": st.builds(Grants, **dict.fromkeys(GRANTS, NAMES)),
    "may_ask": st.booleans(),
}


def key(contract: PlanningContract, **kwargs: Any) -> str:
    catalogue = kwargs.pop("catalogue", CATALOGUE)
    return cache_key(contract, catalogue, documents=kwargs.pop("documents", ""))


def meaning(part: str, value: Any) -> Any:
    """Return a value such that two of them are equal if and only if keys should be."""

    def read(text: str) -> str:
        return " ".join(unicodedata.normalize("NFC", text).split())

    if part == "goal":
        return read(value)
    if part == "constraints":
        return {read(each) for each in value}
    if part == "acceptance_criteria":
        return [read(each) for each in value]
    if part == "away":
        # Not since when, or why.
        return set(value)
    return prompts.shape_of(value) if part == "context" else value


@pytest.mark.parametrize("part", PARTS)
@given(drawn=st.data())
def test_requests_that_differ_in_one_part_have_different_keys(
    part: str, drawn: st.DataObject
) -> None:
    one, other = drawn.draw(PARTS[part]), drawn.draw(PARTS[part])

    keys = {key(make_contract(**{part: value})) for value in (one, other)}

    assert len(keys) == 1 + (meaning(part, one) != meaning(part, other))


@given(
    goal=st.lists(WORDS, min_size=1),
    spaces=st.text(" \t\n\r\u00a0\u2003", min_size=1),
    constraints=st.lists(TEXTS),
    order=st.randoms(use_true_random=False),
)
def test_spaces_and_the_order_of_constraints_do_not_count(
    goal: list[str], spaces: str, constraints: list[str], order: Any
) -> None:
    plain = make_contract(goal=" ".join(goal), constraints=tuple(constraints))
    shuffled = [*constraints, *constraints[:1]]
    order.shuffle(shuffled)
    spaced = make_contract(
        goal=f"{spaces}{spaces.join(goal)}{spaces}", constraints=tuple(shuffled)
    )

    assert key(spaced) == key(plain)


@given(TEXTS)
def test_composed_and_decomposed_letters_are_the_same(goal: str) -> None:
    forms = [unicodedata.normalize(form, goal) for form in ("NFC", "NFD")]

    assert len({key(make_contract(goal=form)) for form in forms}) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Enable two-factor login", "Disable two-factor login"),
        ("Summarise the Q3 report", "Summarise the Q4 report"),
        ("Tell US sales", "Tell us sales"),
        ("Test the report", "Tests the report"),
        ("Delete the logs", "Delete the log's"),
    ],
)
def test_goals_that_only_look_alike_have_different_keys(one: str, other: str) -> None:
    assert key(make_contract(goal=one)) != key(make_contract(goal=other))


def test_the_order_of_criteria_counts() -> None:
    criteria = ("At least 5 keywords", "No PII")

    keys = {
        key(make_contract(acceptance_criteria=each))
        for each in (criteria, criteria[::-1])
    }

    assert len(keys) == 2


def test_equal_amounts_written_differently_are_the_same() -> None:
    amounts = (Decimal("1"), Decimal("1.00"), Decimal("100E-2"))
    times = (600, 600.0)

    keys = {
        key(make_contract(max_cost_usd=amount, max_time_s=time))
        for amount in amounts
        for time in times
    }

    assert len(keys) == 1


def test_the_task_itself_does_not_count() -> None:
    assert key(make_contract(task_id=uuid4())) == key(
        make_contract(task_id=UUID(int=2))
    )


def test_context_that_the_model_is_not_shown_does_not_count() -> None:
    shown = ["Great product.", "It broke."]
    contexts = [{"reviews": [*shown, last]} for last in ("Fine.", "Bad.")]

    assert len({key(make_contract(context=each)) for each in contexts}) == 1


def test_documents_that_the_goal_means_count() -> None:
    contract = make_contract()

    assert key(contract, documents="12 documents") != key(contract)


def offer(**changes: Any) -> Any:
    """Return the catalogue with the analyst's first capability changed."""
    first, *others = ANALYST.capabilities
    changed = dataclasses.replace(first, **changes)
    return arm(capabilities=(changed, *others))


def arm(**changes: Any) -> Any:
    return (dataclasses.replace(ANALYST, **changes), *CATALOGUE[1:])


CATALOGUES: dict[str, Callable[[], Any]] = {
    "an arm less": lambda: CATALOGUE[1:],
    "name": lambda: arm(name="analyser"),
    "version": lambda: arm(version="2"),
    "description": lambda: arm(description="Other words."),
    "what it sees": lambda: arm(sees=frozenset({"EMAIL"})),
    "repeatable": lambda: arm(is_repeatable=False),
    "synonyms": lambda: arm(synonyms=()),
    "queue": lambda: arm(queue="sandbox"),
    "capability less": lambda: arm(capabilities=ANALYST.capabilities[:1]),
    "capability's name": lambda: offer(name="mood"),
    "capability's description": lambda: offer(description="Other words."),
    "input": lambda: offer(input_schema={"type": "object"}),
    "output": lambda: offer(output_schema={"type": "object"}),
    "cost": lambda: offer(cost_usd=Decimal("0.01")),
    "seconds": lambda: offer(seconds=9.0),
}


@pytest.mark.parametrize("changed", CATALOGUES.values(), ids=list(CATALOGUES))
def test_every_part_of_the_catalogue_counts(changed: Callable[[], Any]) -> None:
    contract = make_contract()

    assert key(contract, catalogue=changed()) != key(contract)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OCTOLLM_LLM_BASE_URL", "http://127.0.0.1:2/v1"),
        ("OCTOLLM_LLM_MODEL", "another"),
        ("OCTOLLM_HMAC_KEY", "tests-only-" + "x" * 40),
    ],
)
def test_the_model_and_the_secret_count(settings: Any, name: str, value: str) -> None:
    settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1:1/v1"
    settings.OCTOLLM_LLM_MODEL = "fake-model"
    before = key(make_contract())

    setattr(settings, name, value)

    assert key(make_contract()) != before


def same_arms() -> Any:
    """Return an equal catalogue of other objects, as another process has it."""
    return tuple(dataclasses.replace(spec) for spec in CATALOGUE)


def test_an_equal_catalogue_has_the_same_key() -> None:
    contract = make_contract()

    assert key(contract, catalogue=same_arms()) == key(contract)


@pytest.mark.parametrize("name", ["PROMPT_VERSION", "TEMPERATURE", "KEY_VERSION"])
def test_versions_and_temperature_count(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    before = key(make_contract())

    monkeypatch.setattr(f"planner.cache_key.{name}", 99)

    assert key(make_contract(), catalogue=same_arms()) != before


def test_a_word_changed_in_the_prompt_counts_though_its_version_does_not_change(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = key(make_contract())

    monkeypatch.setattr(prompts, "_SYSTEM", prompts._SYSTEM + "Be brief.")

    assert key(make_contract(), catalogue=same_arms()) != before


def test_every_field_of_a_contract_but_the_task_is_covered_here() -> None:
    fields = {field.name for field in dataclasses.fields(PlanningContract)}

    # Nothing is kept of a later version, so it has no key.
    assert fields - {"task_id", "revision"} == set(PARTS)


def test_a_key_tells_nothing_of_what_it_is_made_from() -> None:
    made = key(make_contract(goal="Call Ann"))

    assert len(made) == 64
    assert set(made) <= set("0123456789abcdef")
