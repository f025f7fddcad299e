"""Nothing is silently ignored: what an address does not take is refused by name."""

from __future__ import annotations

from uuid import uuid4

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app.models import Task
from tests.builders import make_planned_task, make_step

pytestmark = pytest.mark.django_db


@pytest.fixture
def client() -> APIClient:
    _, token = create_key(owner_name="caller", name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    return client


@pytest.fixture
def task(client: APIClient) -> Task:
    return make_planned_task(make_step("a"), owner=Owner.objects.get(name="caller"))


@pytest.mark.parametrize("part", ["", "/results", "/plan", "/events", "/ledger"])
def test_unknown_query_of_a_task_is_refused(client: APIClient, task: Task, part: str):
    answer = client.get(f"/tasks/{task.pk}{part}?colour=red")

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


@pytest.mark.parametrize("path", ["/arms?colour=red", "/arms/judge?colour=red"])
def test_unknown_query_of_the_arms_is_refused(client: APIClient, path: str):
    assert client.get(path).json()["code"] == "unknown_field"


def test_query_of_a_deletion_is_refused(client: APIClient):
    answer = client.delete(f"/documents/{uuid4()}?really=yes")

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")


def test_body_of_a_cancellation_is_refused_and_nothing_cancelled(
    client: APIClient, task: Task
):
    answer = client.post(f"/tasks/{task.pk}/cancel", {"reason": "tired"}, format="json")

    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_field")
    assert Task.objects.get(pk=task.pk).status == "processing"


@pytest.mark.parametrize("body", [None, {}])
def test_cancellation_needs_no_body(client: APIClient, task: Task, body):
    answer = client.post(f"/tasks/{task.pk}/cancel", body, format="json")

    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
