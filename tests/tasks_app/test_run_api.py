"""Budget and retry over HTTP; what they do is tested in test_runs.py."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app.models import Task, TaskResult
from tasks_app.turn import task_turn
from tests.builders import make_planned_task, make_step, make_task
from tests.tasks_app.test_forks import run_all

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner() -> Owner:
    return Owner.objects.create(name="caller")


@pytest.fixture
def client(owner: Owner) -> APIClient:
    _, token = create_key(owner_name=owner.name, name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def failed(owner: Owner, stop_reason: str = "work_failed") -> Task:
    task = make_planned_task(make_step("a"), owner=owner)
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.FAILED, result={}, stop_reason=stop_reason)
    return task


def links(client: APIClient, task: Task) -> set[str]:
    shown = client.get(f"/tasks/{task.pk}").json()["links"]
    return set(shown) & {"retry", "budget", "fork", "cancel"}


def test_links_say_what_is_legal(client, owner):
    done = run_all(make_planned_task(make_step("a"), owner=owner).pk)

    assert links(client, done) == {"cancel", "fork"}
    assert links(client, failed(owner)) == {*("cancel", "fork", "budget", "retry")}
    assert links(client, failed(owner, "budget_cost")) == {
        *("cancel", "fork", "budget")
    }


def test_retry_answers_with_the_task(client, owner):
    task = failed(owner)

    answer = client.post(f"/tasks/{task.pk}/retry")

    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["run"]) == ("processing", 2)


def test_second_retry_is_not_legal(client, owner):
    task = failed(owner)
    client.post(f"/tasks/{task.pk}/retry")

    answer = client.post(f"/tasks/{task.pk}/retry")

    assert (answer.status_code, answer.json()["code"]) == (409, "illegal_state")


def test_retry_takes_no_body(client, owner):
    answer = client.post(
        f"/tasks/{failed(owner).pk}/retry", {"from": "a"}, format="json"
    )

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


def test_used_up_budget_points_to_where_it_is_raised(client, owner):
    task = failed(owner, "budget_tokens")

    answer = client.post(f"/tasks/{task.pk}/retry")

    assert (answer.status_code, answer.json()["code"]) == (409, "budget_used_up")


def test_raised_budget_answers_with_the_task(client, owner):
    task = failed(owner, "budget_tokens")

    answer = client.post(
        f"/tasks/{task.pk}/budget", {"max_tokens": 20_000}, format="json"
    )

    assert answer.status_code == 200
    assert answer.json()["budget"]["max_tokens"] == 20_000
    assert (answer.json()["status"], answer.json()["run"]) == ("processing", 2)
    assert TaskResult.objects.filter(task=task).count() == 1


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({}, "required"),
        ({"max_tokens": 100_001}, "max_value"),
        ({"max_time_seconds": 3_601}, "max_value"),
        ({"max_cost_usd": "100.01"}, "max_value"),
        ({"max_cost_usd": "NaN"}, "invalid"),
        ({"max_tokens": None}, "null"),
        ({"dollars": 5}, "unknown_field"),
    ],
)
def test_cap_beyond_the_bounds_is_refused(client, owner, body, code):
    task = make_task(owner=owner)

    answer = client.post(f"/tasks/{task.pk}/budget", body, format="json")

    assert answer.status_code == 400
    assert code in {error["code"] for error in answer.json()["errors"]}
    task.refresh_from_db()
    assert (task.max_tokens, task.max_time_seconds) == (10_000, 600)


def test_lower_cap_says_so(client, owner):
    task = make_task(owner=owner)

    answer = client.post(f"/tasks/{task.pk}/budget", {"max_tokens": 5}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (409, "budget_lowered")


@pytest.mark.parametrize("part", ["budget", "retry"])
def test_another_owners_task_is_not_there(client, part):
    body = {"max_tokens": 20_000} if part == "budget" else None

    answer = client.post(f"/tasks/{make_task().pk}/{part}", body, format="json")

    assert answer.status_code == 404
