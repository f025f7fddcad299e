"""What a list shows of tasks that have ended."""

from __future__ import annotations

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.access.models import Owner
from tasks_app.models import Task
from tasks_app.turn import task_turn
from tests.builders import make_planned_task, make_step, make_task


@pytest.mark.django_db
def test_list_shows_the_confidence_of_what_has_ended():
    _, token = create_key(owner_name="caller", name="tests")
    owner = Owner.objects.get(name="caller")
    task = make_planned_task(make_step("a"), owner=owner)
    with task_turn(task.pk) as turn:
        turn.close(Task.Status.FAILED, result={}, confidence=0.5)
    make_task(owner=owner)
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    shown = client.get("/tasks").json()["results"]

    assert [task["confidence"] for task in shown] == [None, 0.5]
