"""A task as its owner sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from reflex.screening import Checkpoint, screen
from reflex.vault import open_vault
from tasks_app.models import Plan, Step, Task, TaskEvent, TaskResult
from tasks_app.presenting import (
    present_event,
    present_plan,
    present_result_data,
    present_task,
)
from tests.builders import make_owner, make_planned_task, make_step, make_task

EMAIL = "jo.doe" + "@example.com"


def shown_result(task: Task) -> object:
    """Conceal a result under the task, and return it as its owner sees it."""
    with open_vault(task.pk) as vault:
        concealed = screen(
            {"text": f"Write to {EMAIL}"},
            checkpoint=Checkpoint.TOOL_OUTPUT,
            vault=vault,
        ).document
    return present_result_data(task, TaskResult(task=task, result_data=concealed))


@pytest.mark.django_db
def test_owner_sees_the_values_of_a_result():
    assert shown_result(make_task()) == {"text": f"Write to {EMAIL}"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    "wish",
    ["No PII", "The output must not contain PII", "Mask personal details", "PII-free"],
)
@pytest.mark.parametrize("field", ["constraints", "acceptance_criteria"])
def test_result_that_is_judged_concealed_is_shown_concealed(wish, field):
    wishes: dict[str, Any] = {field: [wish]}
    task = make_task(**wishes)

    assert shown_result(task) == {"text": "Write to [EMAIL_1]"}


def test_event_and_task_write_moments_alike():
    at = datetime(2026, 11, 5, 8, 30, 0, 250_000, tzinfo=UTC)
    task = Task(created_at=at, updated_at=at)

    event = present_event(TaskEvent(task=task, seq=1, type="task.submitted", at=at))

    assert event["at"] == present_task(task, confidence=None)["created_at"]
    assert event["at"] == "2026-11-05T08:30:00.250000+00:00"


@pytest.mark.django_db
def test_list_says_how_sure_the_latest_result_of_each_task_is():
    owner = make_owner()
    client = APIClient()
    _, token = create_key(owner_name=owner.name, name="tests")
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")
    waiting, ended = make_task(owner=owner), make_task(owner=owner)
    for run, confidence in ((1, "0.25"), (2, "0.75")):
        TaskResult.objects.create(
            task=ended, run=run, result_data={}, confidence=confidence
        )

    shown = client.get("/tasks").json()["results"]

    assert {task["task_id"]: task["confidence"] for task in shown} == {
        str(waiting.pk): None,
        str(ended.pk): 0.75,
    }


@pytest.mark.django_db
def test_confidence_of_a_step_is_a_short_number():
    task = make_planned_task(make_step("a"))
    Step.objects.filter(task=task, step_id="a").update(confidence=0.6 * 0.99)
    plan = Plan.objects.get(task=task)

    shown: Any = present_plan(task, plan, list(Step.objects.filter(task=task)))

    assert shown["steps"][0]["confidence"] == 0.594
