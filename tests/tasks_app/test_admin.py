"""Operators see what happened to tasks, and write none of it."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from tasks_app.models import Attempt, Plan, Step, Task, TaskResult, Verdict
from tests.builders import finish_step, make_planned_task, make_step

pytestmark = pytest.mark.django_db

MODELS = [
    model for model in admin.site._registry if model._meta.app_label == "tasks_app"
]
PAGES = [Task, Plan, Step, Attempt, TaskResult, Verdict]


@pytest.fixture
def task() -> Task:
    """Return a task with one of its two steps done, a result and a verdict."""
    task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
    finish_step(task, "a")
    data = {"answer": "count: 3", "outputs": {"a": {"value": "<long>"}}}
    TaskResult.objects.create(task=task, run=1, plan_version=1, result_data=data)
    Verdict.objects.create(
        task=task,
        run=1,
        plan_version=1,
        kind="criterion",
        position=0,
        criterion="Count at least 3",
        verdict="met",
        evidence="result.count = 3",
    )
    return task


def page_of(row: Any) -> str:
    meta = row._meta
    return reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])


def read(client: Client, address: str, **query: str) -> str:
    response = client.get(address, query)
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_list_opens_and_can_be_searched(
    admin_client: Client, task: Task, model: type
) -> None:
    address = reverse(f"admin:tasks_app_{model._meta.model_name}_changelist")  # type: ignore[attr-defined] # any model
    read(admin_client, address)
    read(admin_client, address, q=str(task.pk))


@pytest.mark.parametrize("model", PAGES, ids=lambda model: model.__name__)
def test_every_page_opens_and_takes_no_change(
    admin_client: Client, task: Task, model: Any
) -> None:
    address = page_of(model.objects.first())
    assert 'name="_save"' not in read(admin_client, address)
    assert admin_client.post(address, {}).status_code == 403


def test_a_task_links_to_all_that_came_of_it(admin_client: Client, task: Task) -> None:
    content = read(admin_client, page_of(task))
    parts = (Step.objects.first(), Plan.objects.first(), TaskResult.objects.first())
    assert all(page_of(part) in content for part in parts)


def test_a_task_shows_its_answer_its_verdicts_and_its_events(
    admin_client: Client, task: Task
) -> None:
    content = read(admin_client, page_of(task))
    assert "count: 3" in content
    assert "result.count = 3" in content
    assert "attempt: 1; step_id: a" in content or "step_id: a; attempt: 1" in content


def test_a_task_without_a_result_says_so(admin_client: Client) -> None:
    task = make_planned_task(make_step("a"))
    assert "none yet" in read(admin_client, page_of(task))


def test_the_list_counts_the_steps_of_each_task(
    admin_client: Client, task: Task
) -> None:
    # The plan step and "a" are done; "b" and the judge are not.
    assert "2 / 4" in read(admin_client, "/admin/tasks_app/task/")


def test_a_longer_list_takes_no_more_queries(
    admin_client: Client,
    task: Task,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    for number in range(5):
        make_planned_task(make_step("a"), task_metadata={"number": number})
    with django_assert_max_num_queries(8):
        read(admin_client, "/admin/tasks_app/task/")


def test_a_result_is_shown_apart_from_the_outputs_of_the_steps(
    admin_client: Client, task: Task
) -> None:
    result = TaskResult.objects.get()
    content = read(admin_client, page_of(result))
    answer, outputs = content.index("count: 3"), content.index(escape("<long>"))
    assert answer < content.index("Outputs of the steps") < outputs


def test_an_attempt_says_which_task_it_was_for(
    admin_client: Client, task: Task
) -> None:
    assert page_of(task) in read(admin_client, "/admin/tasks_app/attempt/")


def test_moments_are_shown_to_the_second(admin_client: Client, task: Task) -> None:
    shown = f"{task.created_at:%Y-%m-%d %H:%M:%S}"
    assert shown in read(admin_client, "/admin/tasks_app/task/")
