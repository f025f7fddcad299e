"""Every version of a plan can be read, with what it changed of the one before."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app.models import Plan, Step, Task
from tasks_app.turn import task_turn
from tests.builders import (
    finish_step,
    make_plan,
    make_planned_task,
    make_step,
    make_task,
)

pytestmark = pytest.mark.django_db

FIRST = {"kept": [], "new": ["a", "b"], "superseded": []}
SECOND = {"kept": ["a"], "new": ["v2-1"], "superseded": ["b"]}


@pytest.fixture
def owner() -> Owner:
    return Owner.objects.create(name="caller")


@pytest.fixture
def client(owner: Owner) -> APIClient:
    _, token = create_key(owner_name=owner.name, name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def task(owner: Owner) -> Task:
    """Return a task whose second version keeps one of two steps and adds one."""
    task = make_planned_task(make_step("a"), make_step("b"), owner=owner)
    finish_step(task, "a")
    finish_step(task, "b")
    kept = Step.objects.get(task=task, step_id="a").pk
    with task_turn(task.pk) as turn:
        plan = make_plan(source="model", reason="criteria_not_met")
        turn.add_plan(plan, [make_step("v2-1")], kept=[kept])
    return task


def plan_of(client: APIClient, task: Task, query: str = "") -> Any:
    return client.get(f"/tasks/{task.pk}/plan{query}")


def test_current_version_is_shown_unless_another_is_named(
    client: APIClient, task: Task
) -> None:
    current = plan_of(client, task).json()
    first = plan_of(client, task, "?version=1").json()

    assert [step["step_id"] for step in current["steps"]] == ["a", "v2-1"]
    assert [(s["step_id"], s["status"]) for s in first["steps"]] == [
        ("a", "done"),
        ("b", "superseded"),
        ("judge", "superseded"),
    ]


def test_versions_tell_why_they_came_and_what_they_changed(
    client: APIClient, task: Task
) -> None:
    versions = plan_of(client, task, "?version=1").json()["versions"]

    assert [each["version"] for each in versions] == [1, 2]
    assert [each["reason"] for each in versions] == ["first", "criteria_not_met"]
    assert [each["source"] for each in versions] == ["caller", "model"]
    assert [each["run"] for each in versions] == [1, 1]
    assert [each["diff"] for each in versions] == [FIRST, SECOND]
    assert all(each["created_at"] for each in versions)


@pytest.mark.parametrize("version", ["3", "2147483647"])
def test_version_that_is_not_there_is_told_apart(
    client: APIClient, task: Task, version: str
) -> None:
    answer = plan_of(client, task, f"?version={version}")

    assert (answer.status_code, answer.json()["code"]) == (404, "no_plan")


@pytest.mark.parametrize(
    "query", ["version=0", "version=x", "version=99999999999", "vers=1"]
)
def test_query_that_makes_no_sense_is_refused(
    client: APIClient, task: Task, query: str
) -> None:
    assert plan_of(client, task, f"?{query}").status_code == 400


def test_task_without_a_plan_has_no_version(client: APIClient, owner: Owner) -> None:
    answer = plan_of(client, make_task(owner=owner), "?version=1")

    assert answer.status_code == 404


def test_versions_of_another_owner_are_not_there(task: Task) -> None:
    _, token = create_key(owner_name="stranger", name="tests")
    stranger = APIClient()
    stranger.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    answer = plan_of(stranger, task, "?version=1")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


def test_operator_sees_what_a_version_changed(admin_client: Client, task: Task) -> None:
    plan = Plan.objects.get(task=task, version=2)
    address = reverse("admin:tasks_app_plan_change", args=[plan.pk])

    content = admin_client.get(address).content.decode()

    assert "Against the version before" in content
    assert "criteria_not_met" in content
    assert "superseded" in content
