"""Each rule of the compiler, its repairs, its optimisation and its speed."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from arms.registry import catalogue
from octollm.errors import InvalidPlanError
from planner.compiler import MAX_VIOLATIONS, compile_plan
from planner.grants import Grants
from planner.plan import Plan, Source
from tests.planner.bench import compile_ten_steps
from tests.planner.cases import (
    ANALYST,
    CATALOGUE,
    chain,
    make_contract,
    make_draft,
    step,
)

FROM_GOAL = {"goal": {"$from": "goal"}}
AWAY = {"analyst": "no lexicon"}


def compiled(
    *steps: Any, source: Source = "recipe", result: Any = None, **contract: Any
) -> Plan:
    return compile_plan(
        make_draft(*steps, result=result or {}),
        contract=make_contract(**contract),
        catalogue=CATALOGUE,
        source=source,
    )


def violations_of(*steps: Any, **options: Any) -> tuple[str, ...]:
    with pytest.raises(InvalidPlanError) as caught:
        compiled(*steps, **options)
    return caught.value.violations


def codes_of(*steps: Any, **options: Any) -> set[str]:
    return {sentence.partition(":")[0] for sentence in violations_of(*steps, **options)}


def test_a_sound_plan_is_priced_by_the_catalogue() -> None:
    steps = chain()
    steps[1] |= {"estimated_cost": 0.0001, "estimated_time": 0.1}

    plan = compiled(*steps, source="model")

    assert [each.step_id for each in plan.steps] == ["1", "2", "3"]
    assert plan.total_estimated_cost == Decimal("0.10")
    assert plan.total_estimated_time == 4.0  # the fetch, then the longer branch
    assert plan.sum_estimated_time == 6.0
    assert plan.repairs == ()


@pytest.mark.parametrize(
    ("rule", "steps", "options"),
    [
        ("P001", [step("1")], {"source": "model"}),
        ("P001", [step(str(n)) for n in range(11)], {}),
        ("P001", [], {}),
        ("P002", [step("1"), step("1", "keywords")], {}),
        ("P003", [step("1", depends_on=["2"]), step("2", depends_on=["1"])], {}),
        ("P003", [step("1", depends_on=["1"])], {}),
        ("P003", [step("1", input={"texts": {"$from": "steps.1.method"}})], {}),
        ("P004", [step("1", arm="oracle")], {}),
        ("P005", [step("1", arm="retriever")], {}),
        ("P006", [step("1", "planning", input={})], {}),
        ("P006", [step("1", "check_criteria", input={})], {}),
        ("P007", [step("1", input={"texts": {"$from": 3}})], {}),
        ("P007", [step("1", input={"texts": {"$from": "goal", "x": 1}})], {}),
        ("P007", [step("1", input={"texts": {"$from": "env.HOME"}})], {}),
        ("P007", [step("1", input={"texts": {"$from": "steps"}})], {}),
        ("P007", [step("1", input={"texts": {"$from": "goal." * 300}})], {}),
        ("P007", [step("1")], {"result": {"score": {"$from": 7}}}),
        ("P008", [step("1", input={"texts": {"$from": "steps.9.texts"}})], {}),
        (
            "P009",
            [
                step("1", "fetch_documents", input=FROM_GOAL),
                step("2", input={"texts": {"$from": "steps.1.documents"}}),
            ],
            {},
        ),
        ("P010", [step("1", input={"texts": {"$from": "context.absent"}})], {}),
        ("P011", [step("1", input={})], {}),
        ("P012", [step("1", "keywords", input={"texts": [], "colour": 1})], {}),
        ("P013", [step("1", input={"texts": 7})], {}),
        ("P013", [step("1", input={"texts": ["a", 7]})], {}),
        ("P013", [step("1", "keywords", input={"texts": [], "limit": 0})], {}),
        ("P013", [step("1", input={"texts": {"$from": "goal"}})], {}),
        (
            "P013",
            [step("1", input={"texts": {"$from": "context.reviews"}})],
            {"context": {"reviews": 5}},
        ),
        (
            "P013",
            [
                step("1", "fetch_documents", input=FROM_GOAL),
                step("2", input={"texts": {"$from": "steps.1.count"}}),
            ],
            {},
        ),
        ("P014", [step("1", arm={"$from": "context.arm"})], {}),
        ("P014", [step("1", capability="")], {}),
        ("P014", [step("1", arm="", capability="search")], {}),
        ("P014", [step("1", "http", input={"Host": {"$from": "goal"}})], {}),
        ("P014", [step("1", "http", input={"hosts": [{"$from": "goal"}]})], {}),
        (
            "P014",
            [
                step("1", "fetch_documents", input=FROM_GOAL),
                step("2", "http", input={"url": {"$from": "steps.1.texts.0"}}),
            ],
            {},
        ),
        ("P014", [step("1", "http", input={"host": {"$from": "goal"}})], {}),
        (
            "P014",
            [
                step(
                    "1",
                    "http",
                    input={"host": "a", "body": {"tool": {"$from": "goal"}}},
                )
            ],
            {},
        ),
        ("P015", [step("1", criteria=[1])], {"acceptance_criteria": ("One",)}),
        ("P015", [step("1", criteria=[0])], {}),
        ("P009", [step("1")], {"result": {"score": {"$from": "steps.1.total"}}}),
        ("P016", [step("1")], {"result": {"score": 1}}),
        ("P016", [step("1")], {"result": {"partial": {"$from": "steps.1.method"}}}),
        (
            "P017",
            [step("1", "http", input={"host": "a"})],
            {"constraints": ("No external network access",)},
        ),
        ("P017", [step("1"), step("2")], {"constraints": ("Use at most 1 step",)}),
        ("P018", [step("1")], {"assigned_arm": "retriever"}),
        ("P018", [step("1")], {"assigned_arm": "oracle"}),
        (
            "P019",
            [step(str(n), "http", input={"host": f"h{n}"}) for n in range(4)],
            {},
        ),
        ("P020", [step("1", "http", input={"host": "a"})], {"max_time_s": 5.0}),
        ("P021", [step("1")], {"away": AWAY}),
        ("P022", [step("1")], {"grants": Grants(arms=frozenset({"retriever"}))}),
        ("P023", [step("1", input={"texts": ["x" * 250_000]})], {}),
        ("P024", [step(str(n), input={"a": 1, "b": 2}) for n in range(60)], {}),
    ],
)
def test_each_broken_rule_is_reported_by_its_id(
    rule: str, steps: Any, options: dict[str, Any]
) -> None:
    assert rule in codes_of(*steps, **options)


def test_all_violations_come_at_once_and_say_what_to_do() -> None:
    steps = [
        step("1", arm="oracle"),
        step("2", input={"texts": {"$from": "context.absent"}}),
        step("3", "keywords", input={"limit": 5}),
    ]

    violations = violations_of(*steps, max_cost_usd=Decimal("0.01"))

    assert [each[:4] for each in violations] == ["P004", "P010", "P011", "P019"]
    assert "use analyst, planner, retriever, tool_executor" in violations[0]
    assert "context has reviews" in violations[1]
    assert "keywords needs input “texts”" in violations[2]
    assert "the budget is 0.01 USD" in violations[3]


def test_a_flood_of_violations_is_cut() -> None:
    steps = [step(str(n), input={"a": 1, "b": 2}) for n in range(60)]

    violations = violations_of(*steps)

    # One for the number of steps, three for each step.
    assert len(violations) == MAX_VIOLATIONS + 1
    assert violations[-1].startswith(f"P024: {181 - MAX_VIOLATIONS} more")


def test_nothing_that_is_quoted_makes_a_sentence_long() -> None:
    long = "x" * 2_000
    steps = [
        step("1", arm=long, criteria=[10**2_000]),
        step("2", capability=long, input={long: {"$from": f"context.{long}"}}),
        step("3", input={"texts": {"$from": f"steps.{long}"}, "$from": long}),
    ]

    violations = violations_of(*steps, context={long: 1}, result={long: 1})

    assert max(map(len, violations)) < 600


def test_time_is_checked_along_the_critical_path_not_by_the_sum() -> None:
    calls = [step(str(n), "http", input={"host": f"h{n}"}) for n in range(3)]

    plan = compiled(*calls, max_time_s=10.0)

    assert plan.total_estimated_time == 10.0
    assert plan.sum_estimated_time == 30.0


def test_a_placeholder_fits_every_type() -> None:
    plan = compiled(
        step("1", "keywords", input={"texts": "[EMAIL_1]", "limit": "[CARD_2]"})
    )

    assert plan.steps[0].input["limit"] == "[CARD_2]"


def test_the_assigned_arm_may_be_fed_by_others() -> None:
    plan = compiled(*chain(), assigned_arm="analyst")

    assert plan.steps[0].arm == "retriever"


def test_a_planner_step_may_batch() -> None:
    batch = step("1", "batch", input={"items": {"$from": "context.reviews"}})

    assert compiled(batch).steps[0].capability == "batch"


def test_a_synonym_of_an_arm_is_mapped_and_recorded() -> None:
    plan = compiled(step("1", arm="Data-Analyst"))

    assert plan.steps[0].arm == "analyst"
    assert plan.repairs == (
        "R003: step “1”: arm “Data-Analyst” was read as “analyst”.",
    )


@pytest.mark.parametrize(
    ("written", "arm", "repair"),
    [
        ({"capability": "Sentiment"}, "analyst", "R004"),
        ({"capability": "analyst.sentiment"}, "analyst", "R004"),
        ({"capability": "mood"}, "analyst", "R004"),
        ({"arm": "sentiment"}, "analyst", "R005"),
        ({"arm": "Mood"}, "analyst", "R005"),
        ({"arm": "sentiment", "capability": ""}, "analyst", "R005"),
        ({"arm": "analyst.sentiment"}, "analyst", "R005"),
        ({"arm": None}, "analyst", "R005"),
        ({"arm": "data analyst.sentiment", "capability": None}, "analyst", "R005"),
    ],
)
def test_a_capability_is_found_by_all_names_that_mean_one_thing(
    written: dict[str, Any], arm: str, repair: str
) -> None:
    plan = compiled(step("1", **written))

    assert (plan.steps[0].arm, plan.steps[0].capability) == (arm, "sentiment")
    assert [each[:4] for each in plan.repairs] == [repair]


def test_an_american_spelling_is_understood_by_the_real_catalogue() -> None:
    draft = make_draft(step("1", capability="Summarize"))

    plan = compile_plan(
        draft, contract=make_contract(), catalogue=catalogue(), source="caller"
    )

    assert plan.steps[0].capability == "summarise"


@pytest.mark.parametrize(
    ("written", "rule"),
    [
        ({"arm": "sentiment", "capability": "keywords"}, "P004"),
        ({"arm": "retriever.sentiment"}, "P004"),
        ({"arm": "check_criteria", "capability": ""}, "P004"),
        ({"arm": "oracle", "capability": "sentiment"}, "P004"),
        ({"arm": "analyst", "capability": "retriever.sentiment"}, "P005"),
        ({"arm": {"$from": "goal"}, "capability": "sentiment"}, "P014"),
        ({"arm": "sentiment", "capability": {"$from": "goal"}}, "P014"),
    ],
)
def test_a_name_that_may_mean_something_else_is_refused(
    written: dict[str, Any], rule: str
) -> None:
    assert rule in codes_of(step("1", **written))


def test_a_capability_of_two_arms_in_an_arms_place_is_refused() -> None:
    twin = replace(ANALYST, name="reader", synonyms=())

    with pytest.raises(InvalidPlanError, match="P004"):
        compile_plan(
            make_draft(step("1", arm="sentiment")),
            contract=make_contract(),
            catalogue=(*CATALOGUE, twin),
            source="model",
        )


def test_a_step_written_twice_is_taken_once() -> None:
    steps = [
        step("1", "fetch_documents", input=FROM_GOAL, criteria=[0]),
        step("1", "fetch_documents", input=FROM_GOAL, criteria=[1]),
        step("2", input={"texts": {"$from": "steps.1.texts"}}, depends_on=["1"]),
    ]

    plan = compiled(*steps, acceptance_criteria=("One", "Two"))

    assert [each.step_id for each in plan.steps] == ["1", "2"]
    assert plan.steps[0].criteria == (0, 1)
    assert plan.repairs == ("R002: step “1” was written twice; one was taken.",)


def test_a_step_written_twice_is_refused_where_one_would_be_missing() -> None:
    steps = [step("1"), step("1"), step("2", "keywords")]

    assert codes_of(*steps, source="model") == {"P002"}


@pytest.mark.parametrize(
    "other",
    [
        step("1", "http", input={"host": "a"}),
        step("1", input={"texts": ["another"]}),
        step("1", description="Something else."),
    ],
    ids=["an act on the world", "another input", "another purpose"],
)
def test_an_id_twice_for_what_may_be_two_steps_is_refused(other: Any) -> None:
    first = other if other["capability"] == "http" else step("1")

    assert "P002" in codes_of(first, other)


def test_odd_ids_are_numbered_and_references_follow() -> None:
    steps = [
        step("get data", "fetch_documents", input=FROM_GOAL),
        step(
            "a.b",
            input={"texts": {"$from": "steps.get data.texts"}},
            depends_on=["get data"],
        ),
    ]

    plan = compiled(*steps, result={"score": {"$from": "steps.a.b.sentiment_score"}})

    assert [each.step_id for each in plan.steps] == ["1", "2"]
    assert plan.steps[1].depends_on == ("1",)
    assert plan.steps[1].input == {"texts": {"$from": "steps.1.texts"}}
    assert plan.result == {"score": {"$from": "steps.2.sentiment_score"}}
    assert "numbered" in plan.repairs[0]


@pytest.mark.parametrize("reserved", ["judge", "plan"])
def test_ids_of_the_tasks_own_steps_are_not_taken(reserved: str) -> None:
    plan = compiled(step(reserved), step("b", "keywords"))

    assert [each.step_id for each in plan.steps] == ["1", "2"]


def test_a_dependency_on_no_step_is_dropped_and_recorded() -> None:
    plan = compiled(step("1", depends_on=["0"]))

    assert plan.steps[0].depends_on == ()
    assert "dropped" in plan.repairs[0]


def test_a_dependency_that_a_reference_implies_is_added() -> None:
    steps = chain()
    del steps[1]["depends_on"]

    plan = compiled(*steps, source="model")

    assert plan.steps[1].depends_on == ("1",)
    assert plan.repairs == (
        "R008: step “2”: it reads from step “1”, so it waits for it.",
    )


@pytest.mark.parametrize(
    "written", ["context.reviews", "{{ context.reviews }}", "${context.reviews}"]
)
def test_a_reference_written_as_text_is_read_as_one(written: str) -> None:
    plan = compiled(step("1", input={"texts": written}))

    assert plan.steps[0].input == {"texts": {"$from": "context.reviews"}}
    assert "was read as a reference" in plan.repairs[0]


def test_without_a_result_mapping_the_last_steps_fill_the_result() -> None:
    plan = compiled(*chain())

    assert plan.result == {
        "sentiment_score": {"$from": "steps.2.sentiment_score"},
        "method": {"$from": "steps.2.method"},
        "keywords": {"$from": "steps.3.keywords"},
    }


def test_the_benchmark_compiles_a_plan_of_ten_steps() -> None:
    plan, timings = compile_ten_steps(rounds=2)

    assert len(plan.steps) == 10
    assert len(timings) == 2
