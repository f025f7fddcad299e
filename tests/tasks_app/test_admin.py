"""Operators see what happened to tasks, and write none of it."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.test import Client
from django.urls import reverse
from django.utils.html import escape
from pytest_django import DjangoAssertNumQueries

from arms.contract import CallPrice, ModelCall, ModelUsage
from tasks_app.ledger import TaskMeter
from tasks_app.models import Attempt, Charge, Plan, Step, Task, TaskResult, Verdict
from tasks_app.turn import Claim, task_turn
from tests.builders import (
    claim_of,
    done,
    failed,
    finish_step,
    make_planned_task,
    make_step,
    make_task,
)

pytestmark = pytest.mark.django_db

MODELS = [
    model for model in admin.site._registry if model._meta.app_label == "tasks_app"
]
PAGES = [Task, Plan, Step, Attempt, Charge, TaskResult, Verdict]


@pytest.fixture
def task() -> Task:
    """Return a task with one of its two steps done and paid, a result, a verdict."""
    task = make_planned_task(make_step("a"), make_step("b", depends_on=("a",)))
    claim = claim_of(task, "a")
    pay(claim)
    with task_turn(task.pk) as turn:
        turn.end_attempt(claim, done({"value": "a"}))
        turn.advance()
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


def pay(claim: Claim) -> None:
    """Have a step pay for a call of $0.000245 that took 1.25 s."""
    price = CallPrice(
        input_per_million=Decimal(1),
        output_per_million=Decimal(4),
        cached_per_million=Decimal("0.5"),
        source="genai-prices:somewhere",
        version="9.9",
    )
    call = ModelCall(
        purpose="analysis",
        provider="first-choice",
        model="wise-7b",
        rung="json_object",
        request_hash="h",
        input_tokens=100,
        output_tokens=50,
        price=price,
    )
    meter = TaskMeter(claim)
    usage = ModelUsage(
        input_tokens=90, output_tokens=40, cached_tokens=10, latency_s=1.25
    )
    meter.settle(meter.reserve(call), usage, "the reply")


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


def test_a_task_shows_the_plan_that_came_with_it(admin_client: Client) -> None:
    step = {"step_id": "mine", "arm": "gate", "capability": "echo"}
    task = make_task(given_plan={"steps": [step]}, plan_only=True)
    content = read(admin_client, page_of(task))
    assert "mine" in content
    assert "Plan only" in content


def test_a_step_shows_how_long_slow_ones_take(admin_client: Client) -> None:
    make_planned_task(make_step("a", estimated_time=1.5, estimated_time_p90=7.25))
    assert "7.25" in read(admin_client, page_of(Step.objects.get(step_id="a")))
    assert "7.25" in read(admin_client, page_of(Plan.objects.get()))


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
    with django_assert_max_num_queries(9):
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


def test_a_charge_shows_who_was_asked_how_and_at_what_price(
    admin_client: Client, task: Task
) -> None:
    content = read(admin_client, page_of(Charge.objects.get()))
    for shown in ("first-choice", "wise-7b", "analysis", "json_object", "settled"):
        assert shown in content
    for shown in ("$0.000245000", "$0.000300000", "1.25 s"):
        assert shown in content
    assert "genai-prices:somewhere" in content
    assert "the reply" not in content


def test_a_step_links_to_what_it_paid_for(admin_client: Client, task: Task) -> None:
    content = read(admin_client, page_of(Step.objects.get(step_id="a")))
    assert page_of(Charge.objects.get()) in content
    assert "$0.000245000" in content


def test_moments_are_shown_to_the_second(admin_client: Client, task: Task) -> None:
    shown = f"{task.created_at:%Y-%m-%d %H:%M:%S}"
    assert shown in read(admin_client, "/admin/tasks_app/task/")


class TestRuns:
    """What operators may let go on, and where a task comes from."""

    @staticmethod
    def failed() -> Task:
        task = make_planned_task(make_step("a"))
        finish_step(task, "a", failed())
        with task_turn(task.pk) as turn:
            turn.close(Task.Status.FAILED, result={}, stop_reason="work_failed")
        return task

    @staticmethod
    def act(client: Client, model: str, *rows: Any) -> str:
        data = {"action": "retry", "_selected_action": [str(row.pk) for row in rows]}
        address = reverse(f"admin:tasks_app_{model}_changelist")
        response = client.post(address, data, follow=True)
        assert response.status_code == 200
        return str(response.content.decode())

    def test_failed_task_is_retried_and_others_are_told(
        self, admin_client: Client
    ) -> None:
        task, open_task = self.failed(), make_planned_task(make_step("a"))

        content = self.act(admin_client, "task", task, open_task)

        assert Task.objects.get(pk=task.pk).run == 2
        assert "1 go on." in content
        assert escape(f"{open_task.pk}: The task is processing") in content

    def test_task_of_a_dead_step_is_retried_once(self, admin_client: Client) -> None:
        task = make_planned_task(make_step("a"), make_step("b"), make_step("c"))
        for step_id in ("a", "b"):
            finish_step(task, step_id, replace(failed(), status="dead"))
        with task_turn(task.pk) as turn:
            turn.close(Task.Status.FAILED, result={}, stop_reason="work_failed")

        content = self.act(admin_client, "step", *Step.objects.filter(task=task))

        assert "1 go on." in content
        assert Step.objects.get(task=task, step_id="a").status == "ready"

    def test_who_may_only_look_retries_nothing(self, client: Client) -> None:
        person = User.objects.create_user("ada", is_staff=True)
        own = Permission.objects.filter(content_type__app_label="tasks_app")
        person.user_permissions.add(own.get(codename="view_task"))
        client.force_login(person)
        task = self.failed()

        self.act(client, "task", task)

        assert Task.objects.get(pk=task.pk).status == "failed"

    def test_fork_links_to_where_it_comes_from_and_back(
        self, admin_client: Client
    ) -> None:
        old = self.failed()
        new = make_task(owner=old.owner, forked_from=old, forked_step="a")

        assert page_of(old) in read(admin_client, page_of(new))
        assert page_of(new) in read(admin_client, page_of(old))
