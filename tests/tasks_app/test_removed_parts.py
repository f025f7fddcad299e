"""What a task still shows when retention has removed parts of it."""

from __future__ import annotations

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app import experience, retention
from tasks_app.models import Task, TaskResult
from tasks_app.turn import task_turn
from tests.builders import conceal, make_ended_task, make_owner, make_plan

pytestmark = pytest.mark.django_db

ADDRESS = "eve@" + "corp.example"


@pytest.fixture
def owner() -> Owner:
    return make_owner("caller")


@pytest.fixture
def client(owner: Owner) -> APIClient:
    _, token = create_key(owner_name=owner.name, name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


def test_task_says_what_was_removed(client, owner, keep):
    keep()
    task = make_ended_task(days_ago=31, owner=owner)
    goal = f"Write to {conceal(task, ADDRESS)}"
    Task.objects.filter(pk=task.pk).update(goal=goal)
    assert client.get(f"/tasks/{task.pk}").json()["goal"] == f"Write to {ADDRESS}"

    retention.tick()

    shown = client.get(f"/tasks/{task.pk}").json()
    assert shown["removed_parts"] == ["events", "results", "vault"]
    assert (shown["status"], shown["result"]) == ("cancelled", None)
    assert shown["goal"] == "Write to [EMAIL_1]"
    assert client.get(f"/tasks/{task.pk}/results").json() == []
    assert client.get(f"/tasks/{task.pk}/plan").status_code == 200
    assert [each["task_id"] for each in client.get("/tasks").json()["results"]] == [
        str(task.pk)
    ]


def test_page_of_events_says_where_it_begins(client, owner, keep):
    keep("EVENTS")
    task = make_ended_task(days_ago=31, owner=owner)
    assert client.get(f"/tasks/{task.pk}/events").json()["removed_through"] == 0
    retention.tick()
    with task_turn(task.pk) as turn:
        turn.event("retention.vault")

    page = client.get(f"/tasks/{task.pk}/events").json()

    assert page["removed_through"] == task.event_seq
    assert [event["seq"] for event in page["results"]] == [task.event_seq + 1]


def test_planner_does_not_answer_a_key_whose_plan_is_gone(client, owner, keep):
    body = {"goal": "Count the words", "context": {"texts": ["a b"]}}
    headers = {"HTTP_IDEMPOTENCY_KEY": "k"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tasks_app.planner_arm.MARGIN_S", -60.0)
        asked = client.post(
            "/arms/planner/execute", body, format="json", **headers
        ).json()
    task = Task.objects.get(pk=asked["links"]["self"].rsplit("/", 1)[1])
    Task.objects.filter(pk=task.pk).update(
        status="completed", stage="done", finished_at=timezone.now()
    )

    answer = client.post("/arms/planner/execute", body, format="json", **headers)

    assert (answer.status_code, answer.json()["code"]) == (410, "result_removed")


def test_plans_are_remembered_after_their_results_are_gone(keep):
    keep("RESULTS")
    task = make_ended_task(days_ago=31)
    Task.objects.filter(pk=task.pk).update(status="completed")
    make_plan(task_id=task.pk, version=2, source="model").save(force_insert=True)
    Task.objects.filter(pk=task.pk).update(plan_version=2)

    retention.tick()

    assert not TaskResult.objects.exists()
    remembered = experience.remembered_plans(task.owner_id)
    assert [each.goal for each in remembered] == [task.goal]
