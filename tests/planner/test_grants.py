"""What plans use, what they may use, and the operator's policy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from django.core.checks import run_checks
from django.core.exceptions import ImproperlyConfigured

from arms.contract import ArmSpec
from octollm.errors import InvalidPlanError
from planner.compiler import compile_plan
from planner.grants import Grants, read_policy
from planner.plan import Plan, from_json, to_json
from tests.planner.cases import (
    CATALOGUE,
    TEXTS,
    capability,
    chain,
    make_contract,
    make_draft,
    step,
)

EXECUTOR = ArmSpec(
    name="executor",
    version="1",
    description="Acts on the world.",
    capabilities=(
        capability(
            "act",
            {
                "tool": {"type": "string"},
                "tools": TEXTS,
                "command": {},
                "host": {"type": "string"},
                "hosts": TEXTS,
                "url": {"type": "string"},
                "words": {"type": "object", "additionalProperties": TEXTS},
                "calls": {
                    "type": "array",
                    "items": {"type": "object", "properties": {"url": {}}},
                },
            },
            {"done": {}},
        ),
    ),
)
# Any host, any command.
ANYTHING = '{"commands": "*", "hosts": "*"}'


def act(**given: Any) -> dict[str, Any]:
    return {"step_id": "1", "arm": "executor", "capability": "act", "input": given}


def compiled(*steps: Any, **contract: Any) -> Plan:
    return compile_plan(
        make_draft(*steps),
        contract=make_contract(**contract),
        catalogue=(*CATALOGUE, EXECUTOR),
        source="recipe",
    )


def beyond(*steps: Any, **contract: Any) -> list[str]:
    with pytest.raises(InvalidPlanError) as caught:
        compiled(*steps, **contract)
    return list(caught.value.violations)


def test_a_plans_grants_are_what_its_steps_name(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = ANYTHING
    acting = act(tool="search", command="pytest -q", host="API.example.org.")

    plan = compiled(*chain(), acting | {"step_id": "4"})

    assert plan.grants == Grants(
        arms=frozenset({"analyst", "retriever", "executor"}),
        tools=frozenset({"search"}),
        commands=frozenset({"pytest"}),
        hosts=frozenset({"api.example.org"}),
    )
    assert from_json(to_json(plan)).grants == plan.grants


@pytest.mark.parametrize(
    ("given", "kind", "names"),
    [
        ({"tools": ["a", "b"]}, "tools", {"a", "b"}),
        ({"command": "ls -l /tmp"}, "commands", {"ls"}),
        ({"command": ["ls", "-l"]}, "commands", {"ls"}),
        ({"command": "ls; rm -r x"}, "commands", {"ls; rm -r x"}),
        ({"command": "ls\nrm x"}, "commands", {"ls\nrm x"}),
        ({"command": "echo $(id)"}, "commands", {"echo $(id)"}),
        ({"host": "example.org:8080"}, "hosts", {"example.org"}),
        ({"host": "example.org/path"}, "hosts", {"example.org/path"}),
        ({"host": "[::1]:80"}, "hosts", {"::1"}),
        ({"host": "[EMAIL_1]"}, "hosts", {"[EMAIL_1]"}),
        ({"hosts": ["a", "b"]}, "hosts", {"a", "b"}),
        ({"url": "https://ann@example.org/x?y"}, "hosts", {"example.org"}),
        ({"url": "example.org"}, "hosts", {"example.org"}),
        (
            {"url": "https://good.example\\@evil.example/"},
            "hosts",
            {"https://good.example\\@evil.example/"},
        ),
        ({"url": {"$from": "context.page"}}, "hosts", {"example.net"}),
        ({"calls": [{"url": "http://a/"}, {"url": "http://b/"}]}, "hosts", {"a", "b"}),
        ({"words": {"host": ["server"], "tool": ["hammer"]}}, "hosts", set()),
        ({"words": {"host": ["server"], "tool": ["hammer"]}}, "tools", set()),
    ],
)
def test_names_are_read_from_the_inputs_that_hold_them(
    settings: Any, given: Any, kind: str, names: set[str]
) -> None:
    settings.OCTOLLM_PLAN_POLICY = ANYTHING

    plan = compiled(act(**given), context={"page": "https://example.net/a"})

    assert plan.grants.of_kind(kind) == names


def test_by_default_no_host_and_no_command_is_allowed(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = ""

    violations = beyond(act(tool="search", command="ls", host="example.org"))

    assert [each[:4] for each in violations] == ["P022", "P022"]
    assert "command “ls” is not allowed by this system's policy" in violations[0]
    assert "host “example.org”" in violations[1]
    assert "(hosts: none)" in violations[1]


@pytest.mark.parametrize(
    "host", ["api.example.org", "a.example.com", "b.a.example.com"]
)
def test_listed_hosts_are_allowed(settings: Any, host: str) -> None:
    settings.OCTOLLM_PLAN_POLICY = '{"hosts": ["api.example.org", "*.example.com"]}'

    assert compiled(act(host=host)).grants.hosts == {host}


@pytest.mark.parametrize(
    "host", ["example.org", "example.com", "badexample.com", "api.example.org.evil.net"]
)
def test_hosts_that_only_look_listed_are_not(settings: Any, host: str) -> None:
    settings.OCTOLLM_PLAN_POLICY = '{"hosts": ["api.example.org", "*.example.com"]}'

    assert beyond(act(host=host))


def test_arms_can_be_limited_and_are_then_not_advised(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = '{"arms": ["retriever"]}'

    violations = beyond(step("1"), step("2", arm="oracle"))

    assert [each[:4] for each in violations] == ["P004", "P022"]
    assert violations[0].endswith("use retriever.")
    assert "arm “analyst”" in violations[1]


def test_a_task_may_use_only_what_it_was_granted() -> None:
    granted = Grants(arms=frozenset({"retriever"}))

    violations = beyond(*chain(), grants=granted)

    assert violations[0] == (
        "P022: step “2”: arm “analyst” is beyond what this task was granted "
        "(arms: retriever); plan without it."
    )


def test_where_a_person_may_be_asked_what_is_beyond_is_no_fault(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = '{"hosts": ["api.example.org"]}'
    acting = act(command="ls", hosts=["api.example.org", "evil.example"])

    plan = compiled(acting, may_ask=True)

    assert plan.beyond == (("commands", "ls"), ("hosts", "evil.example"))
    assert from_json(to_json(plan)).beyond == plan.beyond
    assert [each[:4] for each in beyond(acting)] == ["P022", "P022"]


def test_beyond_the_tasks_grants_a_person_is_asked_too() -> None:
    granted = Grants(arms=frozenset({"retriever"}))

    plan = compiled(*chain(), grants=granted, may_ask=True)

    assert plan.beyond == (("arms", "analyst"),)


def test_what_an_operator_approved_for_the_task_is_not_beyond() -> None:
    approved = Grants.of_pairs([("commands", "ls"), ("hosts", "example.org")])

    plan = compiled(act(command="ls"), approved=approved)

    assert plan.beyond == ()
    assert beyond(act(command="rm x"), approved=approved)


@pytest.mark.parametrize("given", [{"host": "*"}, {"host": "*.org"}, {"command": "*"}])
def test_nobody_is_asked_for_a_pattern(settings: Any, given: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = ""

    assert beyond(act(**given), may_ask=True)[0].startswith("P022")


def test_a_plan_within_its_own_grants_passes_again() -> None:
    plan = compiled(*chain())

    assert compiled(*chain(), grants=plan.grants) == plan


@pytest.mark.parametrize(
    ("ceiling", "is_within"),
    [
        (Grants(arms=frozenset({"a", "b"})), True),
        (Grants(arms=frozenset({"*"})), True),
        (Grants(arms=frozenset({"*.a"})), False),
        (Grants(tools=frozenset({"a"})), False),
        (Grants(), False),
    ],
)
def test_grants_lie_within_a_ceiling_or_not(ceiling: Grants, is_within: bool) -> None:
    grants = Grants(arms=frozenset({"a"}))

    assert grants.within(ceiling) is is_within
    assert (grants.beyond(ceiling) == ()) is is_within


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("{", "the whole"),
        ("[]", "the whole"),
        ('{"host": []}', "host"),
        ('{"hosts": {"a": 1}}', "hosts"),
        ('{"arms": ["a", 5]}', "arms.1"),
    ],
)
def test_a_policy_that_cannot_be_read_is_found_at_start(
    settings: Any, text: str, place: str
) -> None:
    settings.OCTOLLM_PLAN_POLICY = text

    (found,) = (each for each in run_checks() if each.id == "planner.E001")

    assert f"cannot be read: {place}: " in found.msg
    with pytest.raises(ImproperlyConfigured, match="OCTOLLM_PLAN_POLICY"):
        read_policy(text)


def test_a_policy_that_can_be_read_is_no_mistake(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = '{"arms": "*", "hosts": ["example.org"]}'

    assert [each for each in run_checks() if each.id == "planner.E001"] == []


def test_a_step_asks_for_no_more_than_its_arm_says(settings: Any) -> None:
    settings.OCTOLLM_PLAN_POLICY = ANYTHING
    modest = replace(
        EXECUTOR, grants={"hosts": ("*.example.org",), "tools": ("search",)}
    )

    def violations(**given: Any) -> list[str]:
        with pytest.raises(InvalidPlanError) as caught:
            compile_plan(
                make_draft(act(**given)),
                contract=make_contract(),
                catalogue=(*CATALOGUE, modest),
                source="recipe",
            )
        return [text for text in caught.value.violations if text.startswith("P022")]

    (command,) = violations(command="ls", host="a.example.org", tool="search")
    (host,) = violations(host="example.net")

    assert "command “ls” is nothing that the arm “executor” asks for" in command
    assert "(hosts: *.example.org)" in host
